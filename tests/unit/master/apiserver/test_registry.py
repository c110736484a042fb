"""The pure rules of the registry: defaults, validation, deletion, addresses, storage form."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import msgspec
import pytest
from msgspec.structs import replace

from kube.api.apps import Deployment, DeploymentSpec
from kube.api.core import (
    Binding,
    ConfigMap,
    Container,
    Namespace,
    Node,
    ObjectReference,
    Pod,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    Service,
    ServicePort,
    ServiceSpec,
    Toleration,
)
from kube.api.meta import DeleteOptions, LabelSelector, ObjectMeta, OwnerReference
from kube.machinery import scheme
from kube.machinery.errors import BadRequest, Conflict
from kube.machinery.images import default_pull_policy
from kube.machinery.schema import schema_of
from master.apiserver.decoding.typed import to_typed, unknown_fields
from master.apiserver.kinds.catalog import KINDS, kind_of
from master.apiserver.kinds.core import service_claims as claims
from master.apiserver.kinds.core.pod import qos_class
from master.apiserver.kinds.core.service import carry_over_allocations
from master.apiserver.kinds.kind import AnyKind, Exhausted
from master.apiserver.kinds.parts.pods import bind
from master.apiserver.kinds.parts.scale import scale_of, with_scale
from master.apiserver.kinds.registry import Registry
from master.apiserver.kinds.settings import Settings, parse_ranges
from master.apiserver.registry import deletion
from master.apiserver.registry.metadata import carried_over, generated_name, timestamp
from master.apiserver.registry.validation.metadata import validate_metadata
from master.apiserver.registry.validation.pod import validate_pod, validate_pod_update
from master.apiserver.storage.codec import from_stored, to_stored, with_revision
from master.apiserver.storage.fields import selectable, supported_fields
from master.apiserver.storage.keys import key_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RANGES = parse_ranges("10.96.0.0/29", "30000-30002")
SETTINGS = Settings(RANGES)
META = ObjectMeta(name="x", namespace="default", uid="u")


def pod(**spec: object) -> Pod:
    given = {"containers": (Container(name="c", image="busybox:1"),), **spec}
    return Pod(metadata=META, spec=PodSpec(**given))


def created(obj: Pod) -> Pod:
    kind = kind_of(Pod)
    made: Pod = kind.on_create(kind.default(obj))
    return made


# storage form


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_stored_bytes_hold_no_revision_and_come_back_whole(kind: AnyKind) -> None:
    resource = kind.resource
    obj = resource.type(metadata=ObjectMeta(name="x", resource_version="5", labels={"a": "b"}))
    stored = to_stored(kind, obj)
    assert b"resourceVersion" not in stored
    assert stored.count(b'"kind"') == stored.count(b'"apiVersion"') == 1
    seen = with_revision(kind, stored, 42)
    assert scheme.decode(resource.type, seen).metadata.resource_version == "42"
    assert from_stored(kind, stored, 42).metadata.labels == {"a": "b"}
    # An object that was decoded (and so holds no shared defaults) is stored as the same bytes.
    assert to_stored(kind, from_stored(kind, stored, 42)) == stored


def test_a_foreign_value_is_brought_into_form() -> None:
    kind = kind_of(ConfigMap)
    data = with_revision(kind, b'{"data":{"a":"b"},"metadata":{"name":"x"}}', 7)
    assert msgspec.json.decode(data) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"resourceVersion": "7", "name": "x"},
        "data": {"a": "b"},
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_keys_lead_back_to_their_kind(kind: AnyKind) -> None:
    key = key_of(kind, "ns", "x").decode()
    tail = "ns/x" if kind.resource.namespaced else "x"
    assert Registry(KINDS).at_key(key) == (kind.stored, tail)


def test_keys_are_upstreams() -> None:
    assert key_of(kind_of(Node), "", "w1") == b"/registry/minions/w1"
    assert key_of(kind_of(Service), "a", "b") == b"/registry/services/specs/a/b"


def test_selectable_fields() -> None:
    stored = to_stored(kind_of(Pod), pod(node_name="w1"))
    fields = selectable(kind_of(Pod), stored).fields
    assert fields["spec.nodeName"] == "w1"
    assert fields["metadata.namespace"] == "default"
    assert "metadata.namespace" not in supported_fields(kind_of(Node))


# pods


def test_pods_get_upstreams_defaults() -> None:
    spec = created(pod()).spec
    assert (spec.restart_policy, spec.dns_policy) == ("Always", "ClusterFirst")
    assert spec.termination_grace_period_seconds == 30
    assert created(created(pod())) == created(pod())


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"), ("a:latest", "Always"), ("a:1", "IfNotPresent"),
        ("host:5000/a", "Always"), ("host:5000/a:1", "IfNotPresent"),
        ("a@sha256:00", "IfNotPresent"),
    ],
)  # fmt: skip
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert default_pull_policy(image) == policy


def test_qos_classes() -> None:
    def of(**resources: dict[str, str]) -> str:
        made = ResourceRequirements(**resources)
        return qos_class(created(pod(containers=(Container(resources=made),))).spec)

    assert of() == "BestEffort"
    assert of(requests={"cpu": "1"}) == "Burstable"
    assert of(limits={"cpu": "1", "memory": "1Gi"}) == "Guaranteed"
    assert of(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "500m"}) == "Burstable"
    assert of(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "1000m"}) == "Guaranteed"


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (pod(containers=()), "spec.containers"),
        (pod(containers=(Container(image="a"),)), "spec.containers[0].name"),
        (pod(containers=(Container(name="A", image="a"),)), "spec.containers[0].name"),
        (pod(containers=(Container(name="a"),)), "spec.containers[0].image"),
        (pod(restart_policy="Sometimes"), "spec.restartPolicy"),
        (pod(node_selector={"a b": "c"}), "spec.nodeSelector"),
        (pod(tolerations=(Toleration(effect="No"),)), "spec.tolerations[0].operator"),
    ],
)
def test_invalid_pods_name_the_field(bad: Pod, path: str) -> None:
    assert path in [cause.field for cause in validate_pod(created(bad))]


def test_a_good_pod_has_no_causes() -> None:
    assert validate_pod(created(pod())) == []


def test_only_images_and_added_tolerations_of_a_pod_change() -> None:
    some = (Toleration(key="j", operator="Exists"),)
    old = created(pod(node_name="w1", tolerations=some))
    image = replace(old.spec.containers[0], image="busybox:2")
    added = (*old.spec.tolerations, Toleration(key="k", operator="Exists"))
    fine = replace(old, spec=replace(old.spec, containers=(image,), tolerations=added))
    assert validate_pod_update(fine, old) == []
    moved = replace(old, spec=replace(old.spec, node_name="w2"))
    assert validate_pod_update(moved, old)[0].field == "spec"
    fewer = replace(old, spec=replace(old.spec, tolerations=()))
    assert "spec.tolerations" in [c.field for c in validate_pod_update(fewer, old)]


# metadata


def test_metadata_rules() -> None:
    bad = ObjectMeta(
        labels={"-a": "b", "c": "d e"},
        annotations={"/x": ""},
        finalizers=("no slash?",),
        owner_references=(OwnerReference(name="x"),),
    )
    fields = {cause.field for cause in validate_metadata(bad)}
    assert {"metadata.labels", "metadata.annotations", "metadata.finalizers[0]"} <= fields
    assert "metadata.ownerReferences[0].uid" in fields


def test_updates_cannot_touch_identity_or_revive() -> None:
    old = replace(META, deletion_timestamp="t", finalizers=("a/b",), generation=3)
    new = ObjectMeta(name="y", uid="z", labels={"l": "m"}, finalizers=("a/b", "c/d"))
    kept = carried_over(new, old)
    assert (kept.name, kept.uid, kept.generation) == ("x", "u", 3)
    assert kept.deletion_timestamp == "t"
    assert kept.finalizers == ("a/b",)
    assert kept.labels == {"l": "m"}


def test_generated_names_stay_within_a_label() -> None:
    assert generated_name("web-", "abcde") == "web-abcde"
    assert len(generated_name("w" * 80, "abcde")) == 63


# deletion


def test_kinds_without_grace_go_at_once_unless_held() -> None:
    assert deletion.decide(pod(), DeleteOptions(), None, NOW) == deletion.Remove()
    held = replace(pod(), metadata=replace(META, finalizers=("a/b",)))
    verdict = deletion.decide(held, DeleteOptions(), None, NOW)
    assert isinstance(verdict, deletion.Mark)
    assert verdict.obj.metadata.deletion_timestamp == "2026-01-01T00:00:00Z"
    assert deletion.decide(verdict.obj, DeleteOptions(), None, NOW) == deletion.Keep()


def test_grace_is_given_once_and_may_only_shrink() -> None:
    marked = deletion.decide(pod(), DeleteOptions(), 30, NOW)
    assert isinstance(marked, deletion.Mark)
    assert marked.obj.metadata.deletion_timestamp == "2026-01-01T00:00:30Z"
    assert deletion.decide(marked.obj, DeleteOptions(), 40, NOW) == deletion.Keep()
    sooner = deletion.decide(marked.obj, DeleteOptions(), 5, NOW)
    assert isinstance(sooner, deletion.Mark)
    assert sooner.obj.metadata.deletion_grace_period_seconds == 5
    assert deletion.decide(marked.obj, DeleteOptions(), 0, NOW) == deletion.Remove()


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [
        ("Foreground", ("a/b", "foregroundDeletion")),
        ("Orphan", ("a/b", "orphan")),
        ("Background", ("a/b",)),
        ("", ("a/b", "orphan")),
    ],
)
def test_propagation_is_written_as_finalizers(policy: str, finalizers: tuple[str, ...]) -> None:
    obj = replace(pod(), metadata=replace(META, finalizers=("a/b", "orphan")))
    options = DeleteOptions(propagation_policy=policy)
    assert deletion.propagation_finalizers(obj, options) == finalizers


def test_dependents_of_old_kinds_stay_unless_something_is_said() -> None:
    asked = DeleteOptions()
    job = Pod(metadata=META)
    assert deletion.propagation_finalizers(job, asked, orphans=True) == ("orphan",)
    said = DeleteOptions(propagation_policy="Background")
    assert deletion.propagation_finalizers(job, said, orphans=True) == ()
    waiting = Pod(metadata=replace(META, finalizers=("foregroundDeletion",)))
    assert deletion.propagation_finalizers(waiting, asked, orphans=True) == ("foregroundDeletion",)
    assert [k.resource.kind for k in KINDS if k.orphans] == ["Job", "ReplicationController"]


def test_a_dying_object_is_finished_without_finalizers_and_grace() -> None:
    dying = replace(META, deletion_timestamp="t", deletion_grace_period_seconds=0)
    assert deletion.is_finished(replace(pod(), metadata=dying))
    assert not deletion.is_finished(pod())
    held = replace(dying, finalizers=("a/b",))
    assert not deletion.is_finished(replace(pod(), metadata=held))
    assert not deletion.is_finished(replace(pod(), metadata=dying), holds=True)


# services


def service(**spec: object) -> Service:
    given = {"ports": (ServicePort(port=80),), **spec}
    kind = kind_of(Service)
    made: Service = kind.default(Service(metadata=META, spec=ServiceSpec(**given)))
    return made


def test_addresses_are_drawn_until_the_range_is_full() -> None:
    taken: set[str] = set()
    for _ in range(5):
        made = claims.allocate(service(), RANGES, taken, set(), lambda n: 0)
        address = made.spec.cluster_ip
        assert ip_address(address) in RANGES.cluster_ips
        assert address not in taken | {"10.96.0.0", "10.96.0.1", "10.96.0.7"}
        assert made.spec.cluster_ips == (address,)
        taken.add(address)
    with pytest.raises(Exhausted):
        claims.allocate(service(), RANGES, taken, set(), lambda n: 0)


def test_node_ports_of_one_service_differ() -> None:
    ports = tuple(ServicePort(name=f"p{i}", port=i) for i in (1, 2, 3))
    made = claims.allocate(service(type="NodePort", ports=ports), RANGES, set(), set(), lambda n: 0)
    assert sorted(port.node_port or 0 for port in made.spec.ports) == [30000, 30001, 30002]
    assert len(claims.owned(made)) == 4


def test_headless_and_external_services_get_no_address() -> None:
    for made in (
        service(cluster_ip="None"),
        service(type="ExternalName", external_name="a.b", ports=()),
    ):
        same = claims.allocate(made, RANGES, set(), set(), lambda n: 0)
        assert claims.owned(same) == frozenset()


def test_an_update_keeps_what_was_allocated() -> None:
    old = claims.allocate(service(type="NodePort"), RANGES, set(), set(), lambda n: 1)
    kept = carry_over_allocations(service(type="NodePort").spec, old.spec)
    assert kept.cluster_ip == old.spec.cluster_ip
    assert kept.ports[0].node_port == old.spec.ports[0].node_port
    closed = carry_over_allocations(replace(old.spec, type="ClusterIP"), old.spec)
    assert closed.ports[0].node_port is None


def test_choices_outside_of_the_ranges_are_found() -> None:
    wrong = service(
        type="NodePort", cluster_ip="10.97.0.1", ports=(ServicePort(port=1, node_port=80),)
    )
    fields = [cause.field for cause in claims.judge(wrong, SETTINGS)]
    assert fields == ["spec.clusterIPs", "spec.ports[0].nodePort"]


# subresources


def test_binding_sets_node_and_condition_once() -> None:
    binding = Binding(metadata=META, target=ObjectReference(kind="Node", name="w1"))
    bound = bind(pod(), binding, timestamp(NOW))
    assert bound.spec.node_name == "w1"
    assert [(c.type, c.status) for c in bound.status.conditions] == [("PodScheduled", "True")]
    with pytest.raises(Conflict, match='already assigned to node "w1"'):
        bind(bound, binding, timestamp(NOW))
    with pytest.raises(Conflict, match="is being deleted"):
        bind(
            replace(pod(), metadata=replace(META, deletion_timestamp="t")), binding, timestamp(NOW)
        )


def test_scale_stands_for_its_deployment() -> None:
    spec = DeploymentSpec(
        replicas=2,
        selector=LabelSelector(match_labels={"a": "b"}),
        template=PodTemplateSpec(),
    )
    obj = Deployment(metadata=META, spec=spec)
    scale = scale_of(obj)
    assert (scale.spec.replicas, scale.status.selector) == (2, "a=b")
    more = replace(scale, spec=replace(scale.spec, replicas=0))
    changed = with_scale(obj, more)
    assert isinstance(changed, Deployment)
    assert changed.spec.replicas == 0


# namespaces, generation, decoding


def test_a_namespace_is_held_by_its_spec_finalizer() -> None:
    kind = kind_of(Namespace)
    made = kind.default(kind.on_create(Namespace(metadata=ObjectMeta(name="n"))))
    assert made.metadata.labels == {"kubernetes.io/metadata.name": "n"}
    assert kind.holds(made)
    assert kind.mark_deleted(made).status.phase == "Terminating"


def test_nulls_are_absent_and_wrong_types_name_their_path() -> None:
    value = {"metadata": {"name": "x", "creationTimestamp": None}, "data": {"a": "b", "c": None}}
    assert to_typed(ConfigMap, value, "ConfigMap").data == {"a": "b"}
    with pytest.raises(BadRequest, match=r"\$\.spec\.replicas"):
        to_typed(Deployment, {"spec": {"replicas": "x"}}, "Deployment")


def test_unknown_fields_are_named_by_path() -> None:
    value = {"spec": {"containers": [{"name": "a", "imagee": "b"}], "x": 1}, "metadata": {}}
    assert unknown_fields(value, schema_of(Pod)) == [
        'unknown field "spec.containers[0].imagee"',
        'unknown field "spec.x"',
    ]
