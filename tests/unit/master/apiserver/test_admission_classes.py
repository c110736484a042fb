"""Admission by what else there is: classes of priority, of runtimes, of ingresses."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kube.api.core import Container, Pod, PodSpec, Toleration
from kube.api.meta import ObjectMeta
from kube.api.networking import Ingress, IngressClass
from kube.api.node import Overhead, RuntimeClass, Scheduling
from kube.api.scheduling import PriorityClass
from kube.machinery.errors import Forbidden
from kube.machinery.scheme import ApiObject
from master.apiserver.admission import defaultingressclass, priority, runtimeclass
from master.apiserver.admission.attributes import Attributes, Plugin, World
from master.apiserver.authn.identity import User
from master.apiserver.kinds.catalog import kind_of

USER = User("somebody", frozenset())


class Known:
    """A world of these objects."""

    def __init__(self, *objects: ApiObject) -> None:
        self._objects = objects

    def lookup(self, type_: type[ApiObject], _: str, name: str) -> ApiObject | None:
        found = (one for one in self.all(type_) if one.metadata.name == name)
        return next(found, None)

    async def fetch(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        return self.lookup(type_, namespace, name)

    def all(
        self, type_: type[ApiObject], namespace: str = "", containing: bytes = b""
    ) -> list[ApiObject]:
        return [one for one in self._objects if isinstance(one, type_)]


def creating(obj: ApiObject) -> Attributes:
    resource = kind_of(type(obj)).resource
    return Attributes(USER, "CREATE", resource, "", "ns", obj.metadata.name, obj, None)


async def admitted(plugin: Plugin, obj: Any, *known: ApiObject) -> Any:
    assert plugin.admit
    return await plugin.admit(creating(obj), cast(World, Known(*known)))


def pod(**spec: Any) -> Pod:
    made = PodSpec(containers=(Container(name="c", image="i:1"),), **spec)
    return Pod(metadata=ObjectMeta(name="p", namespace="ns"), spec=made)


def named(name: str, **annotations: str) -> ObjectMeta:
    said = {key.replace("__", "."): value for key, value in annotations.items()}
    return ObjectMeta(name=name, annotations=said, creation_timestamp="2026-01-01T00:00:00Z")


URGENT = PriorityClass(metadata=named("urgent"), value=100, preemption_policy="Never")
USUAL = PriorityClass(metadata=named("usual"), value=7, global_default=True)


async def test_a_pod_has_the_number_of_its_class() -> None:
    spec = (await admitted(priority.PLUGIN, pod(priority_class_name="urgent"), URGENT)).spec
    assert (spec.priority, spec.preemption_policy) == (100, "Never")


async def test_without_a_class_it_has_the_defaults_or_none() -> None:
    spec = (await admitted(priority.PLUGIN, pod(), URGENT, USUAL)).spec
    assert (spec.priority, spec.priority_class_name) == (7, "usual")
    spec = (await admitted(priority.PLUGIN, pod(), URGENT)).spec
    assert (spec.priority, spec.priority_class_name) == (0, "")
    assert spec.preemption_policy == "PreemptLowerPriority"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priority_class_name": "gone"}, "no PriorityClass with name gone was found"),
        ({"priority": 5}, r"the integer value of priority \(5\) must not be provided in pod spec; "
                          "priority admission controller computed 0 from the given"),
        ({"preemption_policy": "Never"},
         r"the string value of PreemptionPolicy \(Never\) must not"),
    ],
)  # fmt: skip
async def test_what_no_class_says_is_refused(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(Forbidden, match=why):
        await admitted(priority.PLUGIN, pod(**spec), URGENT)


async def test_there_is_one_default_class() -> None:
    assert priority.PLUGIN.validate
    other = PriorityClass(metadata=named("other"), value=1, global_default=True)
    with pytest.raises(Forbidden, match="PriorityClass usual is already marked as default"):
        await priority.PLUGIN.validate(creating(other), cast(World, Known(USUAL)))
    await priority.PLUGIN.validate(creating(USUAL), cast(World, Known(USUAL, URGENT)))


KATA = RuntimeClass(
    metadata=named("kata"),
    handler="kata",
    overhead=Overhead(pod_fixed={"memory": "64Mi"}),
    scheduling=Scheduling(
        node_selector={"runtime": "kata"}, tolerations=(Toleration(operator="Exists"),)
    ),
)


async def test_a_pod_costs_and_goes_where_its_runtime_class_says() -> None:
    given = pod(runtime_class_name="kata", node_selector={"disk": "ssd"})
    spec = (await admitted(runtimeclass.PLUGIN, given, KATA)).spec
    assert spec.overhead == {"memory": "64Mi"}
    assert spec.node_selector == {"disk": "ssd", "runtime": "kata"}
    assert spec.tolerations == (Toleration(operator="Exists"),)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtime_class_name": "gone"}, 'pod rejected: RuntimeClass "gone" not found'),
        ({"overhead": {"cpu": "1"}}, "pod rejected: Pod Overhead set without corresponding"),
        ({"runtime_class_name": "kata", "overhead": {"cpu": "1"}},
         "pod rejected: pod's overhead doesn't match RuntimeClass's defined overhead"),
        ({"runtime_class_name": "kata", "node_selector": {"runtime": "runc"}},
         r'conflict: runtimeClass.scheduling.nodeSelector\[runtime\] = "kata"'),
    ],
)  # fmt: skip
async def test_what_a_runtime_class_does_not_say_is_refused(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(Forbidden, match=why):
        await admitted(runtimeclass.PLUGIN, pod(**spec), KATA)


async def test_an_ingress_without_a_class_is_of_the_default_one() -> None:
    default = {defaultingressclass.DEFAULT: "true"}
    classes = [
        IngressClass(metadata=ObjectMeta(name=name, annotations=said, creation_timestamp=when))
        for name, said, when in (
            ("old", default, "2026-01-01T00:00:00Z"),
            ("new-b", default, "2026-02-01T00:00:00Z"),
            ("new-a", default, "2026-02-01T00:00:00Z"),
            ("other", {}, "2026-03-01T00:00:00Z"),
        )
    ]
    plain = Ingress(metadata=ObjectMeta(name="web"))
    made = await admitted(defaultingressclass.PLUGIN, plain, *classes)
    assert made.spec.ingress_class_name == "new-a"
    annotated = Ingress(
        metadata=ObjectMeta(name="web", annotations={defaultingressclass.OLD: "nginx"})
    )
    assert await admitted(defaultingressclass.PLUGIN, annotated, *classes) is annotated
    assert await admitted(defaultingressclass.PLUGIN, plain, classes[-1]) is plain
