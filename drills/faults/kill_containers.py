"""SIGKILL for the processes of the workload's containers; the kubelet starts them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, HitPod, Needs, Scene
from drills.undo import AnyStep

# Every process in a cgroup of the pod, which is called after its uid.
KILL = (
    'for process in /proc/[0-9]*; do grep -qs "pod$1" "$process/cgroup" && '
    'kill -KILL "${process#/proc/}"; done; true'
)


class KillContainers(Fault, frozen=True, kw_only=True, tag="kill-containers"):
    """SIGKILL for the processes of the workload's containers, as when they crash."""

    title: ClassVar[str] = "containers killed"
    needs: ClassVar[Needs] = Needs(tools=("grep",))
    instant: ClassVar[bool] = True

    pods: Annotated[int, Meta(ge=1, description="Those of how many pods.")] = 1

    def hits(self, on_victims: Sequence[HitPod]) -> tuple[HitPod, ...]:
        return tuple(on_victims[: self.pods])

    def words(self, scene: Scene) -> str:
        return f"{self.title}: {', '.join(pod.name for pod in scene.pods)}"

    async def undo(self, scene: Scene) -> tuple[AnyStep, ...]:
        return ()  # starting them again is the kubelet's work

    async def inject(self, scene: Scene) -> None:
        for pod in scene.pods:
            await scene.lab.run_on(pod.node, ["sh", "-c", KILL, "sh", pod.uid])
