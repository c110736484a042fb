"""Names and addresses: allocated once, kept for the lab's life."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import LabConflict
from provision.identities import LabRecord, allocate, amend
from provision.labfile import parse_lab
from provision.labfile.spec import Lab
from provision.phases.plan import host_routes


def lab(spec: str = "{}", name: str = "default") -> Lab:
    return parse_lab(f"apiVersion: muster/v1\nkind: Lab\nmetadata: {{name: {name}}}\nspec: {spec}")


def test_the_default_lab() -> None:
    record = allocate(lab(), {})
    assert [(m.name, m.role, m.address) for m in record.machines] == [
        ("m1", "master", "10.200.0.11"),
        ("w1", "worker", "10.200.0.21"),
        ("w2", "worker", "10.200.0.22"),
    ]
    assert (record.network.gateway, record.network.host_address) == ("10.200.0.1", "10.200.0.254")
    assert (record.vip, record.endpoint) == (None, "10.200.0.11")


def test_several_masters_share_a_floating_address() -> None:
    record = allocate(lab("{masters: 3}"), {})
    assert (record.vip, record.endpoint) == ("10.200.0.10", "10.200.0.10")
    assert [m.address for m in record.masters] == ["10.200.0.11", "10.200.0.12", "10.200.0.13"]


def test_no_address_floats_in_a_cloud() -> None:
    record = allocate(lab("{masters: 3, provider: ec2}"), {})
    assert (record.vip, record.endpoint) == (None, "10.200.0.11")


def test_other_labs_get_the_next_free_network() -> None:
    assert allocate(lab(name="two"), {}).network.subnet == "10.200.1.0/24"
    taken = {"default": "10.200.0.0/24", "two": "10.200.1.0/24", "big": "10.200.2.0/23"}
    assert allocate(lab(name="three"), taken).network.subnet == "10.200.4.0/24"


def test_a_network_of_the_labs_own_is_not_taken_for_its_machines() -> None:
    record = allocate(lab("{network: {podCIDR: 10.200.0.0/22}}", "pods"), {})
    assert record.network.subnet == "10.200.4.0/24"


def test_a_network_that_the_host_reaches_already_is_avoided(tmp_path: Path) -> None:
    table = tmp_path / "route"
    # As the kernel prints it: hexadecimal, in the byte order of a little-endian host.
    table.write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n"
        "tun0 0000C80A 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
        "br0 0001C90A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    )
    routes = host_routes(table)
    assert [str(r) for r in routes] == ["10.200.0.0/16", "10.201.1.0/24"]
    with pytest.raises(LabConflict, match="no free /24"):
        allocate(lab(), {}, routes)
    assert allocate(lab(), {}, [IPv4Network("10.200.0.0/24")]).network.subnet == "10.200.1.0/24"


def test_a_subnet_that_another_lab_has_is_refused() -> None:
    with pytest.raises(LabConflict, match='overlaps lab "one"'):
        allocate(lab("{network: {subnet: 10.9.1.0/24}}", "two"), {"one": "10.9.0.0/16"})


def test_when_all_networks_are_taken_it_says_so() -> None:
    with pytest.raises(LabConflict, match="no free /24"):
        allocate(lab(name="more"), {"all": "10.200.0.0/16"})


def test_sizes_reach_the_machines() -> None:
    record = allocate(lab("{workers: [{cpus: 4, memory: 1Gi, disk: 5Gi}]}"), {})
    worker = record.workers[0]
    assert (worker.cpus, worker.memory_mib, worker.disk_mib) == (4.0, 1024, 5120)
    assert (record.masters[0].disk_mib, record.masters[0].pids) == (10 * 1024, 8192)
    assert allocate(lab("{local: {disk: none}}"), {}).masters[0].disk_mib is None
    virtual = allocate(lab("{provider: vagrant}"), {}).masters[0]
    assert (virtual.disk_mib, virtual.pids) == (None, None)


@given(st.sampled_from([1, 3, 5, 7, 9]), st.integers(0, 200), st.integers(16, 24))
def test_no_two_machines_share_an_address(masters: int, workers: int, prefix: int) -> None:
    subnet = IPv4Network((int(IPv4Address("172.16.0.0")), prefix))
    record = allocate(
        lab(f"{{masters: {masters}, workers: {workers}, network: {{subnet: {subnet}}}}}"), {}
    )
    addresses = [m.address for m in record.machines]
    addresses += [record.network.gateway, record.network.host_address]
    addresses += [record.vip] if record.vip else []
    assert len(set(addresses)) == len(addresses)
    assert all(IPv4Address(a) in subnet for a in addresses)


def test_the_record_survives_its_file() -> None:
    record = allocate(lab("{masters: 3, workers: [{disk: 5Gi}]}"), {})
    assert msgspec.json.decode(msgspec.json.encode(record), type=LabRecord) == record


def test_workers_may_be_added_and_keep_what_they_have() -> None:
    record = allocate(lab(), {})
    more = amend(record, lab("{workers: 4}"))
    assert more.machines[:3] == record.machines
    assert [m.address for m in more.workers[2:]] == ["10.200.0.23", "10.200.0.24"]


def test_the_same_wish_changes_nothing() -> None:
    record = allocate(lab("{masters: 3}"), {})
    assert amend(record, record.lab) == record


def test_timers_may_change() -> None:
    assert amend(allocate(lab(), {}), lab("{timers: kubernetes}")).lab.spec.timers == "kubernetes"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{workers: 1}", "has 2 workers; 1 were asked for"),
        ("{workers: [{memory: 4Gi}, {}]}", "of other sizes"),
        ("{masters: 3}", "exists with spec.masters 1; 3 cannot"),
        ("{provider: ec2}", "exists with spec.provider local; ec2 cannot"),
        ("{network: {subnet: 10.9.0.0/24}}", "exists with spec.network.subnet"),
        ("{network: {serviceCIDR: 10.97.0.0/16}}", "exists with spec.network.serviceCIDR"),
        ("{runtime: containerd}", "exists with spec.runtime"),
    ],
)
def test_what_would_need_another_lab_is_refused(spec: str, said: str) -> None:
    with pytest.raises(LabConflict) as caught:
        amend(allocate(lab(), {}), lab(spec))
    assert said in caught.value.message
    assert "muster down" in caught.value.hint
