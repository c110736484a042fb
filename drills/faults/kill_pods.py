"""Pods of the workload are deleted without grace, as by `kubectl delete --force`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, HitPod, Needs, Scene
from drills.undo import AnyStep
from kube.api.core import Pod
from kube.machinery.errors import NotFound


class KillPods(Fault, frozen=True, kw_only=True, tag="kill-pods"):
    """Pods of the workload on the victims are deleted, without grace and without a goodbye."""

    title: ClassVar[str] = "pods deleted"
    needs: ClassVar[Needs] = Needs(api=True)
    instant: ClassVar[bool] = True

    pods: Annotated[int, Meta(ge=1, description="How many, on all victims together.")] = 1

    def hits(self, on_victims: Sequence[HitPod]) -> tuple[HitPod, ...]:
        return tuple(on_victims[: self.pods])

    def words(self, scene: Scene) -> str:
        return f"{self.title}: {', '.join(pod.name for pod in scene.pods)}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return ()  # replacing them is the ReplicaSet's work

    async def inject(self, scene: Scene) -> None:
        async with scene.lab.client() as client:
            for pod in scene.pods:
                delete = partial(
                    client.delete, Pod, pod.name, pod.namespace, uid=pod.uid,
                    grace_period_seconds=0,
                )  # fmt: skip
                with suppress(NotFound):
                    await scene.lab.patiently(delete)
