"""NodePorts: a host port belongs to one pod of the node."""

from __future__ import annotations

from typing import Any

from master.scheduler.nodeinfo import NodeInfo
from master.scheduler.plugin import NODE_ADD, POD_DELETE, SKIP, Cycle, Plugin, Rejection
from master.scheduler.podinfo import PodInfo, Port

_ANY = "0.0.0.0"  # noqa: S104 - the wildcard of host ports, nothing listens here


class NodePorts(Plugin):
    name = "NodePorts"
    events = frozenset({NODE_ADD, POD_DELETE})

    def pre_filter(self, cycle: Cycle) -> Any:
        return cycle.pod.ports or SKIP

    def filter(self, pod: PodInfo, node: NodeInfo, state: Any) -> Rejection | None:
        taken = [port for port, count in node.ports.items() if count > 0]
        if not any(_clash(wanted, port) for wanted in state for port in taken):
            return None
        text = "node(s) didn't have free ports for the requested pod ports"
        return Rejection((text,), resolvable=True)


def _clash(one: Port, other: Port) -> bool:
    same = one[0] == other[0] and one[2] == other[2]
    return same and (one[1] == other[1] or _ANY in (one[1], other[1]))
