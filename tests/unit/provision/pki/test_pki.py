"""The lab's certificates: kubeadm's names, users and groups, verified as a TLS peer would."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from provision.identities import LabRecord, allocate
from provision.labfile import parse_lab
from provision.pki.authority import LeafRequest, issue, new_authority
from provision.pki.catalogue import AUTHORITIES, host_leaves, machine_leaves
from provision.pki.store import Pki, ensure_pki

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def record(masters: int = 3, workers: int = 1) -> LabRecord:
    text = f"apiVersion: muster/v1\nkind: Lab\nspec: {{masters: {masters}, workers: {workers}}}"
    return allocate(parse_lab(text), {})


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return ensure_pki(record(), tmp_path_factory.mktemp("pki"), NOW)


def subject(certificate: x509.Certificate) -> tuple[str, tuple[str, ...]]:
    """User and groups, as an api-server reads them from a client certificate."""
    names = certificate.subject
    groups = names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    (user,) = names.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(user.value), tuple(str(g.value) for g in groups)


IDENTITIES = {
    "admin": ("kubernetes-admin", ("kubeadm:cluster-admins",)),
    "monitoring": ("muster-monitoring", ("system:monitoring",)),
    "machines/m1/controller-manager": ("system:kube-controller-manager", ()),
    "machines/m1/scheduler": ("system:kube-scheduler", ()),
    "machines/m1/kubelet-client": ("system:node:m1", ("system:nodes",)),
    "machines/w1/kubelet-client": ("system:node:w1", ("system:nodes",)),
    "machines/w1/kube-proxy": ("system:kube-proxy", ("system:node-proxier",)),
    "machines/w1/network": ("system:muster:network", ("system:node-proxier",)),
    "machines/m1/apiserver-kubelet-client": (
        "kube-apiserver-kubelet-client",
        ("kubeadm:cluster-admins",),
    ),
    "machines/m1/apiserver-etcd-client": ("kube-apiserver-etcd-client", ()),
    "machines/m1/front-proxy-client": ("front-proxy-client", ()),
    "etcd/healthcheck-client": ("kube-etcd-healthcheck-client", ()),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_clients_have_the_users_and_groups_that_upstream_knows(pki: Pki, name: str) -> None:
    assert subject(pki[name].certificate) == IDENTITIES[name]


def all_leaves(pki: Pki) -> list[tuple[str, str, LeafRequest]]:
    lab = record()
    leaves = [*host_leaves(), *(x for m in lab.machines for x in machine_leaves(lab, m))]
    assert {x.name for x in leaves} | set(AUTHORITIES) == set(pki.pairs)
    return [(x.name, x.authority, x.request) for x in leaves]


def test_every_leaf_verifies_against_its_own_authority_and_no_other(pki: Pki) -> None:
    for name, authority, request in all_leaves(pki):
        leaf = pki[name].certificate
        for each in AUTHORITIES:
            store = Store([pki[each].certificate])
            policy = PolicyBuilder().store(store).time(NOW)
            # The x509 verifier asks a client certificate for an alternative name, which Kubernetes
            # does not; the signature and the validity are what is asked here.
            good = each == authority
            if request.server:
                verifier = policy.build_server_verifier(x509.IPAddress(IPv4Address(_address(leaf))))
                if good:
                    verifier.verify(leaf, [])
                else:
                    with pytest.raises(VerificationError):
                        verifier.verify(leaf, [])
            elif good:
                leaf.verify_directly_issued_by(pki[each].certificate)
            else:
                with pytest.raises((ValueError, TypeError)):
                    leaf.verify_directly_issued_by(pki[each].certificate)


def _address(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.IPAddress)[0])


def test_a_server_is_not_taken_for_another(pki: Pki) -> None:
    verifier = (
        PolicyBuilder()
        .store(Store([pki["ca"].certificate]))
        .time(NOW)
        .build_server_verifier(x509.DNSName("w1"))
    )
    verifier.verify(pki["machines/w1/kubelet"].certificate, [])
    with pytest.raises(VerificationError):
        verifier.verify(pki["machines/m1/kubelet"].certificate, [])


def test_the_api_server_answers_to_all_its_names(pki: Pki) -> None:
    names = (
        pki["machines/m2/apiserver"]
        .certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert set(names.get_values_for_type(x509.DNSName)) == {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "m2",
        "localhost",
    }
    addresses = {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"10.96.0.1", "10.200.0.12", "10.200.0.10", "127.0.0.1"}


def test_usages_separate_servers_from_clients(pki: Pki) -> None:
    for name, _, request in all_leaves(pki):
        extension = pki[name].certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert (ExtendedKeyUsageOID.SERVER_AUTH in extension.value) is request.server, name
        assert (ExtendedKeyUsageOID.CLIENT_AUTH in extension.value) is request.client, name
        assert request.server or request.client


def test_lives_are_a_year_and_ten_and_begin_before_now(pki: Pki) -> None:
    leaf, authority = pki["admin"].certificate, pki["ca"].certificate
    for certificate, days in ((leaf, 365), (authority, 3650)):
        assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
        assert certificate.not_valid_after_utc == NOW + timedelta(days=days)


def test_keys_are_p256_and_an_authority_may_sign_only_leaves(pki: Pki) -> None:
    for pair in pki.pairs.values():
        key = pair.certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    constraints = (
        pki["ca"].certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    )
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    first = ensure_pki(record(), tmp_path, NOW)
    again = ensure_pki(record(), tmp_path, NOW)
    assert first.made == len(first.pairs)
    assert again.made == 0
    assert again.pairs == first.pairs
    assert again.service_account == first.service_account


def test_a_new_worker_gets_its_own_and_leaves_the_others(tmp_path: Path) -> None:
    first = ensure_pki(record(workers=1), tmp_path, NOW)
    second = ensure_pki(record(workers=2), tmp_path, NOW)
    assert {k: second.pairs[k] for k in first.pairs} == first.pairs
    assert all(name.startswith("machines/w2/") for name in second.pairs.keys() - first.pairs.keys())


def test_a_torn_a_foreign_and_an_old_certificate_are_made_anew(tmp_path: Path) -> None:
    first = ensure_pki(record(), tmp_path, NOW)
    (tmp_path / "admin.crt").write_text("-----BEGIN CERT")
    foreign = issue(new_authority("other", NOW), LeafRequest("muster-monitoring"), NOW)
    (tmp_path / "monitoring.crt").write_bytes(foreign.cert)
    (tmp_path / "monitoring.key").write_bytes(foreign.key)
    second = ensure_pki(record(), tmp_path, NOW)
    assert second.made == 2
    assert second["ca"] == first["ca"]
    later = ensure_pki(record(), tmp_path, NOW + timedelta(days=300))
    assert later.made == len(later.pairs) - len(AUTHORITIES)
    assert later["ca"] == first["ca"]


def test_private_keys_are_for_root_alone(tmp_path: Path) -> None:
    ensure_pki(record(), tmp_path, NOW)
    keys = list(tmp_path.rglob("*.key"))
    assert keys
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
