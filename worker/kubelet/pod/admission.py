"""Which pods this node refuses outright, and in whose words: upstream's admit handlers. Pure.

A pod that the scheduler bound, or that names the node itself, is looked at once before anything
of it is made. A refusal ends it: phase Failed, with the reason and the message given here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from kube.api import core
from kube.machinery.tolerations import tolerated

# Upstream's safe set: namespaced, and unable to harm the node or another pod.
SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
# Everything below these belongs to one namespace (`sysctl/namespace.go`).
_NAMESPACED = {"kernel.sem": "IPC", "kernel.shm": "IPC", "kernel.msg": "IPC",
               "fs.mqueue.": "IPC", "net.": "Net"}  # fmt: skip
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_CRITICAL_PRIORITY = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node: `address` is "" for every address."""

    protocol: str
    port: int
    address: str = ""

    def meets(self, other: HostPort) -> bool:
        """Whether both cannot be had at once."""
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        return not self.address or not other.address or self.address == other.address


@dataclass(frozen=True, slots=True)
class NodeOffers:
    """What the node can give, as far as admission must know it."""

    apparmor: bool = False
    strict_groups: bool = True
    allowed_sysctls: tuple[str, ...] = SAFE_SYSCTLS
    # What the node's own processes listen on, and what other pods here hold.
    own_ports: tuple[HostPort, ...] = ()
    pod_ports: tuple[HostPort, ...] = ()
    # Conditions under which only critical pods come in (DiskPressure, PIDPressure, ...).
    pressures: tuple[str, ...] = field(default=())


def refusal(pod: core.Pod, node: NodeOffers) -> Refusal | None:
    """The first reason to refuse the pod; None when it may run."""
    checks = (
        _pressure(pod, node),
        _operating_system(pod),
        _sysctls(pod, node.allowed_sysctls),
        _apparmor(pod, node),
        _groups(pod, node),
        _ports(pod, node),
    )
    return next((found for found in checks if found), None)


def is_critical(pod: core.Pod) -> bool:
    return (pod.spec.priority or 0) >= _CRITICAL_PRIORITY


def _pressure(pod: core.Pod, node: NodeOffers) -> Refusal | None:
    pressures = node.pressures
    if not pressures or is_critical(pod):
        return None
    if pressures == ("MemoryPressure",) and (
        pod.status.qos_class != "BestEffort" or _tolerates_memory_pressure(pod)
    ):
        return None
    return Refusal("Evicted", f"The node had condition: [{' '.join(pressures)}]. ")


def _tolerates_memory_pressure(pod: core.Pod) -> bool:
    taint = core.Taint(key="node.kubernetes.io/memory-pressure", effect="NoSchedule")
    return tolerated(pod.spec.tolerations, taint)


def _operating_system(pod: core.Pod) -> Refusal | None:
    name = pod.spec.os.name if pod.spec.os else ""
    contexts = (pod.spec.security_context, *(c.security_context for c in _containers(pod)))
    windows = any(context and context.windows_options for context in contexts)
    if name in ("", "linux") and not windows:
        return None
    if windows and name in ("", "linux"):
        text = (
            "Failed to admit pod as it sets securityContext.windowsOptions and the node runs linux"
        )
        return Refusal("PodOSNotSupported", text)
    text = "Failed to admit pod as the OS field doesn't match node OS"
    return Refusal("PodOSNotSupported", text)


def _containers(pod: core.Pod) -> Iterator[core.Container]:
    yield from pod.spec.init_containers
    yield from pod.spec.containers


# ---- sysctls


def allowed_sysctls(unsafe: Iterable[str]) -> tuple[str, ...]:
    """The safe set and --allowed-unsafe-sysctls. Raises ValueError for what is no pod's own."""
    patterns = tuple(pattern.replace("/", ".") for pattern in unsafe)
    for pattern in patterns:
        if not _namespace(pattern.removesuffix("*")):
            raise ValueError(f"the sysctls {pattern!r} are not known to be namespaced")
    return (*SAFE_SYSCTLS, *patterns)


def _namespace(name: str) -> str:
    return next((kind for prefix, kind in _NAMESPACED.items() if name.startswith(prefix)), "")


def _sysctls(pod: core.Pod, allowed: tuple[str, ...]) -> Refusal | None:
    context = pod.spec.security_context
    for sysctl in context.sysctls if context else ():
        if problem := _sysctl(sysctl.name, pod.spec, allowed):
            return Refusal("SysctlForbidden", f"forbidden sysctl: {problem}")
    return None


def _sysctl(name: str, spec: core.PodSpec, allowed: tuple[str, ...]) -> str:
    plain = name.replace("/", ".")
    found = any(
        plain.startswith(pattern[:-1]) if pattern.endswith("*") else plain == pattern
        for pattern in allowed
    )
    if not found or ".." in plain:
        return f'"{name}" not allowlisted'
    namespace = _namespace(plain)
    if (namespace == "IPC" and spec.host_ipc) or (namespace == "Net" and spec.host_network):
        return f'"{name}" not allowed with host {namespace} enabled'
    return ""


# ---- what depends on the kernel and the runtime


def _apparmor(pod: core.Pod, node: NodeOffers) -> Refusal | None:
    contexts = (pod.spec.security_context, *(c.security_context for c in _containers(pod)))
    profiles = [context.app_armor_profile for context in contexts if context]
    fields = any(profile and profile.type != "Unconfined" for profile in profiles)
    annotated = any(
        key.startswith(_APPARMOR_ANNOTATION) and value not in ("", "unconfined")
        for key, value in pod.metadata.annotations.items()
    )
    if not node.apparmor and (fields or annotated):
        text = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
        return Refusal("AppArmor", text)
    if annotated and not fields:
        text = "Cannot enforce AppArmor: the annotation has become the field appArmorProfile"
        return Refusal("AppArmor", text)
    return None


def _groups(pod: core.Pod, node: NodeOffers) -> Refusal | None:
    context = pod.spec.security_context
    if node.strict_groups or not context or context.supplemental_groups_policy != "Strict":
        return None
    text = "SupplementalGroupsPolicy=Strict is not supported in this node"
    return Refusal("SupplementalGroupsPolicyNotSupported", text)


# ---- ports


def host_ports(pod: core.Pod) -> Iterator[HostPort]:
    """The ports of the node that the pod asks for."""
    for container in _containers(pod):
        for port in container.ports:
            if port.host_port:
                yield HostPort(port.protocol or "TCP", port.host_port, _address(port.host_ip))


def _address(text: str) -> str:
    """One spelling of an address; "" for all of them."""
    try:
        address = ip_address(text) if text else None
    except ValueError:
        return text
    return "" if address is None or address.is_unspecified else str(address)


def _ports(pod: core.Pod, node: NodeOffers) -> Refusal | None:
    """A hostPort is a redirection: it would win over a listener of the node, unseen by it.

    With hostNetwork there is none; the pod's bind(2) fails like anybody's.
    """
    taken = node.pod_ports if pod.spec.host_network else (*node.own_ports, *node.pod_ports)
    if not any(wanted.meets(held) for wanted in host_ports(pod) for held in taken):
        return None
    text = "node(s) didn't have free ports for the requested pod ports"
    return Refusal("NodePorts", f"Predicate NodePorts failed: {text}")
