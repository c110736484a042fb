"""Priority: a pod has the number of its class; one class may be that of all others. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.core import Pod
from kube.api.scheduling import PriorityClass
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden

_PREEMPT = "PreemptLowerPriority"
NOBODYS = PriorityClass(value=0, preemption_policy=_PREEMPT)
_COMPUTED = "priority admission controller computed {} from the given PriorityClass name"


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    pod = asked.new
    if not asked.creates(Pod) or not isinstance(pod, Pod):
        return pod
    spec = pod.spec
    found = await _class_of(asked, world, spec.priority_class_name)
    value, policy = found.value or 0, found.preemption_policy or _PREEMPT
    if spec.priority is not None and spec.priority != value:
        text = f"the integer value of priority ({spec.priority}) must not be provided in pod spec; "
        raise forbidden(asked, text + _COMPUTED.format(value))
    if spec.preemption_policy and spec.preemption_policy != policy:
        text = f"the string value of PreemptionPolicy ({spec.preemption_policy}) must not be "
        raise forbidden(asked, f"{text}provided in pod spec; {_COMPUTED.format(policy)}")
    spec = replace(
        spec,
        priority=value,
        preemption_policy=policy,
        priority_class_name=found.metadata.name,
    )
    return replace(pod, spec=spec)


async def _class_of(asked: Attributes, world: World, name: str) -> PriorityClass:
    if not name:
        # More than one can be there after a race: the least of them holds.
        return min(_defaults(world), key=lambda one: one.value or 0, default=NOBODYS)
    found = world.lookup(PriorityClass, "", name) or await world.fetch(PriorityClass, "", name)
    if not isinstance(found, PriorityClass):
        raise forbidden(asked, f"no PriorityClass with name {name} was found")
    return found


def _defaults(world: World) -> list[PriorityClass]:
    found = world.all(PriorityClass, containing=b'"globalDefault":true')
    return [one for one in found if isinstance(one, PriorityClass) and one.global_default]


async def validate(asked: Attributes, world: World) -> None:
    new = asked.new
    if asked.subresource or not isinstance(new, PriorityClass) or not new.global_default:
        return
    for one in _defaults(world):
        if one.metadata.name != new.metadata.name:
            text = f"PriorityClass {one.metadata.name} is already marked as default. "
            raise forbidden(asked, f"{text}Only one default can exist")


PLUGIN = Plugin(name="Priority", admit=admit, validate=validate)
