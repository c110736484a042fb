"""DefaultBinder: the pod's `binding` subresource, which sets spec.nodeName."""

from __future__ import annotations

from master.scheduler.plugin import Cycle, Plugin, Skip


class DefaultBinder(Plugin):
    name = "DefaultBinder"

    async def bind(self, cycle: Cycle, node: str) -> Skip | None:
        pod = cycle.pod
        await self.handle.client.bind(pod.namespace, pod.pod.metadata.name, node, pod.uid)
        return None
