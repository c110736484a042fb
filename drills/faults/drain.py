"""A node is emptied for maintenance, as by `kubectl drain`."""

from __future__ import annotations

from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, Uncordon
from kube.api.core import Node, Pod
from kube.machinery.errors import NotFound


class Drain(Fault, frozen=True, kw_only=True, tag="drain"):
    """A node is emptied for maintenance, as by `kubectl drain --ignore-daemonsets`."""

    title: ClassVar[str] = "drain"
    needs: ClassVar[Needs] = Needs(api=True)
    takes_pods: ClassVar[bool] = True

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        async with scene.lab.client() as client:
            nodes = [await client.get(Node, name) for name in scene.victims]
        # One that somebody cordoned before stays so.
        return tuple(Uncordon(n.metadata.name) for n in nodes if not n.spec.unschedulable)

    async def inject(self, scene: Scene) -> None:
        async with scene.lab.client() as client:
            for name in scene.victims:
                await client.patch(Node, name, {"spec": {"unschedulable": True}}, "merge")
            for name in scene.victims:
                listing = await client.list(Pod, "", "", f"spec.nodeName={name}")
                for pod in filter(evictable, listing.items):
                    try:
                        await client.evict(pod.metadata.namespace, pod.metadata.name)
                    except NotFound:
                        continue


def evictable(pod: Pod) -> bool:
    """Whether somebody else will make it anew elsewhere. Pure."""
    owners = [owner.kind for owner in pod.metadata.owner_references if owner.controller]
    return bool(owners) and owners[0] not in ("DaemonSet", "Node")
