"""A node is emptied for maintenance, as by `kubectl drain`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import ClassVar

from drills.faults.base import Fault, Needs, Scene
from drills.undo import AnyStep, Uncordon
from kube.api.core import Node, Pod
from kube.machinery.errors import NotFound

CORDONED = {"spec": {"unschedulable": True}}


class Drain(Fault, frozen=True, kw_only=True, tag="drain"):
    """A node is emptied for maintenance, as by `kubectl drain --ignore-daemonsets`."""

    title: ClassVar[str] = "drain"
    needs: ClassVar[Needs] = Needs(api=True)
    takes_pods: ClassVar[bool] = True

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        lab = scene.lab
        async with lab.client() as client:
            nodes = [await lab.patiently(partial(client.get, Node, name)) for name in scene.victims]
        # One that somebody cordoned before stays so.
        return tuple(Uncordon(n.metadata.name) for n in nodes if not n.spec.unschedulable)

    async def inject(self, scene: Scene) -> None:
        patiently = scene.lab.patiently
        async with scene.lab.client() as client:
            for name in scene.victims:
                await patiently(partial(client.patch, Node, name, CORDONED))
            for name in scene.victims:
                here = f"spec.nodeName={name}"
                listing = await patiently(partial(client.list, Pod, "", "", here))
                for pod in filter(evictable, listing.items):
                    with suppress(NotFound):
                        await patiently(
                            partial(client.evict, pod.metadata.namespace, pod.metadata.name)
                        )


def evictable(pod: Pod) -> bool:
    """Whether somebody else will make it anew elsewhere. Pure."""
    owners = [owner.kind for owner in pod.metadata.owner_references if owner.controller]
    return bool(owners) and owners[0] not in ("DaemonSet", "Node")
