"""Admission by what else there is: classes of priority, of runtimes, of ingresses; limits."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from kube.api.core import (
    Container,
    LimitRange,
    LimitRangeItem,
    LimitRangeSpec,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    Pod,
    PodSpec,
    ResourceRequirements,
    Toleration,
    VolumeResourceRequirements,
)
from kube.api.meta import ObjectMeta
from kube.api.networking import Ingress, IngressClass
from kube.api.node import Overhead, RuntimeClass, Scheduling
from kube.api.scheduling import PriorityClass
from kube.machinery.errors import Forbidden
from kube.machinery.scheme import ApiObject
from master.apiserver.admission import defaultingressclass, limitranger, priority, runtimeclass
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


def limits(**item: Any) -> LimitRange:
    meta = ObjectMeta(name="limits", namespace="ns")
    return LimitRange(metadata=meta, spec=LimitRangeSpec(limits=(LimitRangeItem(**item),)))


def asking(requests: dict[str, Any], most: dict[str, Any], *more: Container) -> Pod:
    resources = ResourceRequirements(requests=requests, limits=most)
    container = Container(name="c", image="i:1", resources=resources)
    meta = ObjectMeta(name="p", namespace="ns")
    return Pod(metadata=meta, spec=PodSpec(containers=(container, *more)))


async def refusal(obj: ApiObject, known: LimitRange) -> str:
    assert limitranger.PLUGIN.validate
    try:
        await limitranger.PLUGIN.validate(creating(obj), cast(World, Known(known)))
    except Forbidden as error:
        return str(error).partition(" is forbidden: ")[2]
    return ""


async def test_containers_get_the_defaults_of_their_namespace() -> None:
    known = limits(type="Container", default={"cpu": "1"}, default_request={"memory": "64Mi"})
    given = asking({"cpu": "100m"}, {})
    made = await admitted(limitranger.PLUGIN, given, known)
    resources = made.spec.containers[0].resources
    assert resources.requests == {"cpu": "100m", "memory": "64Mi"}
    assert resources.limits == {"cpu": "1"}
    assert made.metadata.annotations == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: memory request for container c; "
        "cpu limit for container c"
    }
    assert await admitted(limitranger.PLUGIN, made, known) is made


@pytest.mark.parametrize(
    ("item", "requests", "most", "why"),
    [
        ({"max": {"cpu": "1"}}, {}, {},
         "maximum cpu usage per Container is 1.  No limit is specified"),
        ({"max": {"cpu": "1"}}, {"cpu": "1"}, {"cpu": "1500m"},
         "maximum cpu usage per Container is 1, but limit is 1500m"),
        ({"max": {"memory": "1Gi"}}, {}, {"memory": "2Gi"},
         "maximum memory usage per Container is 1Gi, but limit is 2Gi"),
        ({"max": {"cpu": "1"}}, {"cpu": "1"}, {"cpu": "1"}, ""),
        ({"min": {"cpu": "200m"}}, {"cpu": "100m"}, {},
         "minimum cpu usage per Container is 200m, but request is 100m"),
        ({"min": {"cpu": "200m"}}, {}, {},
         "minimum cpu usage per Container is 200m.  No request is specified"),
        ({"max_limit_request_ratio": {"cpu": "2"}}, {"cpu": "100m"}, {"cpu": "300m"},
         "cpu max limit to request ratio per Container is 2, but provided ratio is 3"),
    ],
)  # fmt: skip
async def test_a_container_keeps_the_bounds(
    item: dict[str, Any], requests: dict[str, Any], most: dict[str, Any], why: str
) -> None:
    known = limits(type="Container", **item)
    assert await refusal(asking(requests, most), known) == why


async def test_a_pod_is_all_its_containers_and_its_largest_first_one() -> None:
    known = limits(type="Pod", max={"cpu": "2"})
    one = asking({}, {"cpu": "1500m"}).spec.containers[0]
    assert await refusal(asking({}, {"cpu": "400m"}, one), known) == ""
    text = "maximum cpu usage per Pod is 2, but limit is 3"
    assert await refusal(asking({}, {"cpu": "1500m"}, one), known) == text
    base = asking({}, {"cpu": "1"})
    large = asking({}, {"cpu": "3"}).spec.containers
    first = msgspec.structs.replace(
        base, spec=msgspec.structs.replace(base.spec, init_containers=large)
    )
    assert await refusal(first, known) == text


async def test_a_claim_keeps_the_bounds() -> None:
    known = limits(type="PersistentVolumeClaim", max={"storage": "1Gi"})
    resources = VolumeResourceRequirements(requests={"storage": "2Gi"})
    meta = ObjectMeta(name="c", namespace="ns")
    claim = PersistentVolumeClaim(
        metadata=meta, spec=PersistentVolumeClaimSpec(resources=resources)
    )
    assert await refusal(claim, known) == (
        "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    )
