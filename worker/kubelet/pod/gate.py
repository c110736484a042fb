"""The door to this node: asks `admission` about each new pod, with what the node has now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

from kube.api import core
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.node.eviction import Pressures
from worker.kubelet.node.listeners import listeners
from worker.kubelet.pod.admission import HostPort, NodeOffers, Refusal, host_ports, refusal

_APPARMOR_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_APPARMOR_FS = Path("/sys/kernel/security/apparmor")


@dataclass(slots=True)
class RuntimeFeatures:
    """What the runtime says that it can do; the node agent asks it again and again."""

    strict_groups: bool = False
    user_namespaces: frozenset[str] = frozenset()  # the handlers that have them

    def take(self, status: cri.StatusResponse) -> None:
        self.strict_groups = status.features.supplemental_groups_policy
        self.user_namespaces = frozenset(
            handler.name for handler in status.runtime_handlers if handler.features.user_namespaces
        )


@dataclass(slots=True)
class Gate:
    """Admits pods, and remembers which ports of the node those that are here hold."""

    offers: NodeOffers
    features: RuntimeFeatures
    pressures: Pressures = field(default_factory=lambda: Pressures(0.0))
    _held: dict[str, tuple[HostPort, ...]] = field(default_factory=dict)

    async def admit(self, pod: core.Pod) -> Refusal | None:
        """None: the pod may run, and its ports are its own until `release`."""
        wanted = tuple(host_ports(pod))
        own = await asyncio.to_thread(listeners) if wanted else ()
        others = (ports for uid, ports in self._held.items() if uid != pod.metadata.uid)
        node = replace(
            self.offers,
            strict_groups=self.features.strict_groups,
            own_ports=(*self.offers.own_ports, *own),
            pod_ports=tuple(port for ports in others for port in ports),
            pressures=self.pressures(),
        )
        refused = refusal(pod, node)
        if refused is None:
            self.hold(pod)
        return refused

    def hold(self, pod: core.Pod) -> None:
        """The pod was admitted before: what it holds is not given away."""
        if wanted := tuple(host_ports(pod)):
            self._held[pod.metadata.uid] = wanted

    def release(self, uid: str) -> None:
        self._held.pop(uid, None)


def kernel_has_apparmor() -> bool:
    try:
        return _APPARMOR_FS.is_dir() and _APPARMOR_ENABLED.read_text().startswith("Y")
    except OSError:
        return False
