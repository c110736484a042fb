"""DefaultTolerationSeconds: for how long new pods tolerate that their node is away. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.core import Pod, Toleration
from master.apiserver.admission.attributes import Attributes, Plugin, World
from master.apiserver.kinds.settings import TolerationSeconds

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    pod = asked.new
    if not asked.creates(Pod) or not isinstance(pod, Pod):
        return pod
    tolerations = with_default_tolerations(pod.spec.tolerations, world.settings.tolerations)
    return replace(pod, spec=replace(pod.spec, tolerations=tolerations))


def with_default_tolerations(
    tolerations: tuple[Toleration, ...], seconds: TolerationSeconds
) -> tuple[Toleration, ...]:
    """Add the two NoExecute tolerations unless the pod says something itself."""
    added = []
    for key, wait in ((NOT_READY, seconds.not_ready), (UNREACHABLE, seconds.unreachable)):
        if not any(t.key in ("", key) and t.effect in ("", "NoExecute") for t in tolerations):
            added.append(
                Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=wait)
            )
    return (*tolerations, *added)


PLUGIN = Plugin(name="DefaultTolerationSeconds", admit=admit)
