"""Which pods the node refuses, in upstream's words: the pure part."""

from __future__ import annotations

from pathlib import Path

import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.node.listeners import listeners
from worker.kubelet.pod.admission import (
    SAFE_SYSCTLS,
    HostPort,
    NodeOffers,
    Refusal,
    allowed_sysctls,
    host_ports,
    refusal,
)
from worker.kubelet.pod.env import ConfigError
from worker.kubelet.pod.gate import Gate, RuntimeFeatures
from worker.kubelet.pod.security import SeccompSettings, container_security
from worker.kubelet.pod.usernamespaces import NoUserNamespace, UserNamespaces


def pod(uid: str = "u", ports: tuple[core.ContainerPort, ...] = (), **spec: object) -> core.Pod:
    containers = (core.Container(name="c", image="i", ports=ports),)
    made = core.PodSpec(containers=containers, **spec)  # type: ignore[arg-type]
    return core.Pod(metadata=ObjectMeta(name="p", namespace="d", uid=uid), spec=made)


def port(number: int, protocol: str = "TCP", ip: str = "") -> core.ContainerPort:
    return core.ContainerPort(container_port=80, host_port=number, protocol=protocol, host_ip=ip)


def sysctl(name: str) -> core.PodSecurityContext:
    return core.PodSecurityContext(sysctls=(core.Sysctl(name=name, value="1"),))


@pytest.mark.parametrize("name", [*SAFE_SYSCTLS, "net/ipv4/tcp_rmem"])
def test_safe_sysctls_pass(name: str) -> None:
    assert refusal(pod(security_context=sysctl(name)), NodeOffers()) is None


def test_patterns_open_unsafe_sysctls_but_only_namespaced_ones() -> None:
    node = NodeOffers(allowed_sysctls=allowed_sysctls(["kernel.msg*", "net.core.somaxconn"]))
    for name in ("kernel.msgmax", "net.core.somaxconn"):
        assert refusal(pod(security_context=sysctl(name)), node) is None
    refused = refusal(pod(security_context=sysctl("net.core.somaxconn2")), node)
    assert refused and refused.reason == "SysctlForbidden"
    with pytest.raises(ValueError, match="not known to be namespaced"):
        allowed_sysctls(["kernel.core_pattern"])


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        (port(10250), True), (port(10250, ip="127.0.0.1"), True), (port(10250, "UDP"), False),
        (port(8080, ip="10.0.0.1"), True), (port(8080, ip="10.0.0.2"), False),
        (port(8080, ip="0.0.0.0"), True), (port(8081), False), (port(9000), True),
    ],
)  # fmt: skip
def test_ports_that_are_taken(wanted: core.ContainerPort, refused: bool) -> None:
    node = NodeOffers(
        own_ports=(HostPort("TCP", 10250), HostPort("TCP", 8080, "10.0.0.1")),
        pod_ports=(HostPort("TCP", 9000),),
    )
    found = refusal(pod(ports=(wanted,)), node)
    assert (found is not None) == refused
    if found:
        text = "node(s) didn't have free ports for the requested pod ports"
        assert (found.reason, found.message) == ("NodePorts", f"Predicate NodePorts failed: {text}")


def test_with_the_host_network_the_kernel_itself_refuses() -> None:
    node = NodeOffers(own_ports=(HostPort("TCP", 10250),), pod_ports=(HostPort("TCP", 9000),))
    assert refusal(pod(ports=(port(10250),), host_network=True), node) is None
    assert refusal(pod(ports=(port(9000),), host_network=True), node) is not None


def test_under_pressure_only_critical_pods_come_in() -> None:
    node = NodeOffers(pressures=("DiskPressure",))
    found = refusal(pod(), node)
    assert found and found.reason == "Evicted"
    assert found.message == "The node had condition: [DiskPressure]. "
    assert refusal(pod(priority=2_000_000_000), node) is None


async def test_a_port_is_held_until_its_pod_is_over() -> None:
    gate = Gate(NodeOffers(), RuntimeFeatures())
    first, second = pod("1", (port(18_999),)), pod("2", (port(18_999),))
    assert await gate.admit(first) is None
    assert await gate.admit(first) is None
    assert await gate.admit(second) is not None
    gate.release("1")
    assert await gate.admit(second) is None


def test_listeners_are_read_in_every_form(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address st ...\n"
    (tmp_path / "tcp").write_text(
        head + "   0: 0100007F:2808 00000000:0000 0A 0:0\n   1: 0100007F:2809 0100007F:1 01 0:0\n"
    )
    (tmp_path / "tcp6").write_text(
        head + "   0: " + "0" * 32 + ":280A " + "0" * 32 + ":0000 0A 0:0\n"
        "   1: 0000000000000000FFFF00000100007F:280B " + "0" * 32 + ":0000 0A 0:0\n"
    )
    (tmp_path / "udp").write_text(head + "   0: 00000000:0035 00000000:0000 07 0:0\n")
    assert set(listeners(tmp_path)) == {
        HostPort("TCP", 10248, "127.0.0.1"), HostPort("TCP", 10250), HostPort("UDP", 53),
        HostPort("TCP", 10251, "127.0.0.1"),
    }  # fmt: skip


def test_host_ports_of_init_containers_count_too() -> None:
    spec = core.PodSpec(
        init_containers=(core.Container(name="i", ports=(port(1),)),),
        containers=(core.Container(name="c", ports=(port(2), port(0))),),
    )
    assert [p.port for p in host_ports(core.Pod(spec=spec))] == [1, 2]


def test_a_sysctl_of_a_namespace_that_is_the_nodes() -> None:
    for name, spec, kind in (
        ("net.ipv4.tcp_syncookies", {"host_network": True}, "Net"),
        ("kernel.shm_rmid_forced", {"host_ipc": True}, "IPC"),
    ):
        found = refusal(pod(security_context=sysctl(name), **spec), NodeOffers())
        text = f'forbidden sysctl: "{name}" not allowed with host {kind} enabled'
        assert found == Refusal("SysctlForbidden", text)


def test_an_unmasked_proc_needs_a_user_namespace() -> None:
    context = core.SecurityContext(proc_mount="Unmasked")
    container = core.Container(name="c", security_context=context)
    with pytest.raises(ConfigError, match="`hostUsers` must be false to use `Unmasked`"):
        container_security(core.PodSpec(), container, SeccompSettings())
    made = container_security(core.PodSpec(host_users=False), container, SeccompSettings())
    assert not made.masked_paths
    assert not made.readonly_paths


@pytest.mark.parametrize("name", ["", "/etc/p.json", "../p.json", "a/../../p.json", "a/.."])
def test_a_profile_lies_below_the_kubelets_own_directory(name: str) -> None:
    profile = core.SeccompProfile(type="Localhost", localhost_profile=name)
    container = core.Container(
        name="c", security_context=core.SecurityContext(seccomp_profile=profile)
    )
    with pytest.raises(ConfigError):
        container_security(core.PodSpec(), container, SeccompSettings("/k/seccomp"))


def test_seccomp_default_is_for_pods_that_name_none() -> None:
    container = core.Container(name="c")
    by_default = SeccompSettings(by_default=True)
    for settings, kind in (
        (SeccompSettings(), cri.SecurityProfile.Unconfined),
        (by_default, cri.SecurityProfile.RuntimeDefault),
    ):
        made = container_security(core.PodSpec(), container, settings)
        assert made.seccomp.profile_type == kind
    own = core.SecurityContext(seccomp_profile=core.SeccompProfile(type="Unconfined"))
    made = container_security(
        core.PodSpec(), core.Container(name="c", security_context=own), by_default
    )
    assert made.seccomp.profile_type == cri.SecurityProfile.Unconfined


def test_blocks_of_ids_are_kept_over_restarts_and_never_shared(tmp_path: Path) -> None:
    first = UserNamespaces(tmp_path, 3)
    taken = [first.of(uid).uids[0].host_id for uid in ("a", "b", "a", "c")]
    assert taken == [65_536, 131_072, 65_536, 196_608]
    with pytest.raises(NoUserNamespace, match="could not find an empty slot"):
        first.of("d")
    again = UserNamespaces(tmp_path, 3)
    assert [again.of(uid).gids[0].host_id for uid in ("c", "b", "a")] == [196_608, 131_072, 65_536]
    again.release("b")
    assert again.of("d").uids[0].host_id == 131_072


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '{"uidMappings":[],"gidMappings":[]}',
        '{"uidMappings":[{"hostId":0,"containerId":0,"length":65536}],'
        '"gidMappings":[{"hostId":0,"containerId":0,"length":65536}]}',
        '{"uidMappings":[{"hostId":65537,"containerId":0,"length":65536}],'
        '"gidMappings":[{"hostId":65537,"containerId":0,"length":65536}]}',
    ],
)  # fmt: skip
def test_a_broken_record_gives_no_ids_away(tmp_path: Path, text: str) -> None:
    (tmp_path / "pods/x").mkdir(parents=True)
    (tmp_path / "pods/x/userns").write_text(text)
    made = UserNamespaces(tmp_path, 2)
    assert made.of("x").uids[0].host_id == 65_536
    assert made.of("y").uids[0].host_id == 131_072
