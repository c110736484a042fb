"""Each node's condition Ready, and the taint that evicts its pods."""

from __future__ import annotations

import time

from drills.events import NodeSeen
from drills.observers.base import Scope, follow
from kube.api.core import Node

UNREACHABLE = "node.kubernetes.io/unreachable"


async def watch(scope: Scope) -> None:
    def note(node: Node, gone: bool) -> None:
        ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
        tainted = any(t.key == UNREACHABLE and t.effect == "NoExecute" for t in node.spec.taints)
        scope.seen.note(NodeSeen(time.time(), node.metadata.name, ready and not gone, tainted))

    await follow(scope.client, Node, note)
