"""The certificates and kubeconfigs of one machine: only what its own processes need.

No CA's private key ever leaves the provisioning host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kube.machinery.subjects import node_user
from provision.identities import LabRecord
from provision.payload.masters import REST_PORT
from provision.payload.model import KUBERNETES, PKI, File
from provision.payload.owners import owner_and_group
from provision.pki.catalogue import machine_leaves
from provision.pki.kubeconfig import kubeconfig_bytes
from provision.pki.store import Pki
from provision.providers.base import MachineSpec

SECRET, SHARED = 0o600, 0o640

# Kubeconfig file: (certificate, user).
AGENTS = {
    "kubelet.conf": ("kubelet-client", node_user("{name}")),
    "kube-proxy.conf": ("kube-proxy", "system:kube-proxy"),
    "network.conf": ("network", "system:muster:network"),
}
MASTERS = {
    "controller-manager.conf": ("controller-manager", "system:kube-controller-manager"),
    "scheduler.conf": ("scheduler", "system:kube-scheduler"),
    "state-metrics.conf": ("state-metrics", "system:muster:state-metrics"),
}


def identity_files(record: LabRecord, machine: MachineSpec, pki: Pki) -> list[File]:
    files = [
        *_authorities(machine, pki),
        *_leaves(record, machine, pki),
        *_kubeconfigs(record, machine, pki),
    ]
    return [_owned(file) for file in files] if machine.role == "master" else files


def _owned(file: File) -> File:
    """A secret on a master, handed to the component that needs it."""
    if not file.secret:
        return file
    owner, group = owner_and_group(file.path)
    return replace(file, owner=owner, group=group, mode=SECRET if owner == group else SHARED)


def _authorities(machine: MachineSpec, pki: Pki) -> Iterator[File]:
    yield File(f"{PKI}/ca.crt", pki["ca"].cert)
    if machine.role == "master":
        yield File(f"{PKI}/etcd/ca.crt", pki["etcd/ca"].cert)
        yield File(f"{PKI}/front-proxy-ca.crt", pki["front-proxy-ca"].cert)
        yield File(f"{PKI}/sa.pub", pki.service_account.cert)
        yield File(f"{PKI}/sa.key", pki.service_account.key, SECRET)


def _leaves(record: LabRecord, machine: MachineSpec, pki: Pki) -> Iterator[File]:
    for leaf in machine_leaves(record, machine):
        if leaf.installed is not None:
            pair = pki[leaf.name]
            yield File(f"{PKI}/{leaf.installed}.crt", pair.cert)
            yield File(f"{PKI}/{leaf.installed}.key", pair.key, SECRET)


def _kubeconfigs(record: LabRecord, machine: MachineSpec, pki: Pki) -> Iterator[File]:
    server = f"https://{record.endpoint}:{REST_PORT}"
    ca = pki["ca"].cert
    wanted = AGENTS | (MASTERS if machine.role == "master" else {})
    for file, (leaf, user) in wanted.items():
        pair = pki[f"machines/{machine.name}/{leaf}"]
        who = user.format(name=machine.name)
        content = kubeconfig_bytes(record.name, server, ca, pair, who)
        yield File(f"{KUBERNETES}/{file}", content, SECRET)
    if machine.role == "master":
        content = kubeconfig_bytes(record.name, server, ca, pki["admin"], "kubernetes-admin")
        yield File(f"{KUBERNETES}/admin.conf", content, SECRET)
