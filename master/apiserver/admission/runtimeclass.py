"""RuntimeClass: a pod of a class costs what the class says, and runs where it says. Pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from kube.api.core import Pod, PodSpec
from kube.api.node import RuntimeClass
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    pod = asked.new
    if not asked.creates(Pod) or not isinstance(pod, Pod):
        return pod
    name = pod.spec.runtime_class_name
    if not name:
        if pod.spec.overhead:
            why = "Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden(asked, f"pod rejected: {why}")
        return pod
    found = world.lookup(RuntimeClass, "", name) or await world.fetch(RuntimeClass, "", name)
    if not isinstance(found, RuntimeClass):
        raise forbidden(asked, f'pod rejected: RuntimeClass "{name}" not found')
    spec = _with_overhead(asked, pod.spec, found)
    return replace(pod, spec=_with_scheduling(asked, spec, found))


def _with_overhead(asked: Attributes, spec: PodSpec, found: RuntimeClass) -> PodSpec:
    wanted = found.overhead.pod_fixed if found.overhead else {}
    if spec.overhead and spec.overhead != wanted:
        why = "pod's overhead doesn't match RuntimeClass's defined overhead"
        raise forbidden(asked, f"pod rejected: {why}")
    return replace(spec, overhead=wanted)


def _with_scheduling(asked: Attributes, spec: PodSpec, found: RuntimeClass) -> PodSpec:
    if found.scheduling is None:
        return spec
    for key, value in found.scheduling.node_selector.items():
        if spec.node_selector.get(key, value) != value:
            text = (
                f'conflict: runtimeClass.scheduling.nodeSelector[{key}] = "{value}"; '
                f'pod.spec.nodeSelector[{key}] = "{spec.node_selector[key]}"'
            )
            raise forbidden(asked, text)
    more = tuple(t for t in found.scheduling.tolerations if t not in spec.tolerations)
    return replace(
        spec,
        node_selector={**spec.node_selector, **found.scheduling.node_selector},
        tolerations=(*spec.tolerations, *more),
    )


PLUGIN = Plugin(name="RuntimeClass", admit=admit)
