"""Priority: without PriorityClasses every pod has the same. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.core import Pod
from master.apiserver.admission.attributes import Attributes, Plugin, World


async def admit(asked: Attributes, _: World) -> msgspec.Struct | None:
    pod = asked.new
    if not asked.creates(Pod) or not isinstance(pod, Pod):
        return pod
    spec = replace(
        pod.spec,
        priority=0 if pod.spec.priority is None else pod.spec.priority,
        preemption_policy=pod.spec.preemption_policy or "PreemptLowerPriority",
    )
    return replace(pod, spec=spec)


PLUGIN = Plugin(name="Priority", admit=admit)
