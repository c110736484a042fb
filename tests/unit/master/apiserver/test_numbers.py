"""The table of protobuf's field numbers beside the published schema."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kube.machinery.scheme import Resource
from master.apiserver.kinds.catalog import KINDS
from master.apiserver.protobuf.decode import MAGIC, decode_body
from master.apiserver.protobuf.numbers import MESSAGES
from tools.published import META, kinds
from tools.published import place_of as published_place
from tools.render_types import ALSO, closure, properties_of

SPECIAL = {"string", "bytes", "bool", "int32", "int64", "double", "time", "microtime", "quantity",
           "intstr", "json", "strings", "schema-or-array", "schema-or-bool",
           "schema-or-strings"}  # fmt: skip
# Newer than the last kubectl that holds descriptors (1.34); clients send it as JSON only.
NEWER = {
    "apiextensions.CustomResourceDefinitionCondition": {"observedGeneration"},
    "apiextensions.CustomResourceDefinitionStatus": {"observedGeneration"},
    "authentication.TokenRequestSpec": {"attestations"},
    "autoscaling_v2.HorizontalPodAutoscalerCondition": {"observedGeneration"},
    "core.NodeStatus": {"declaredFeatures"},
    "core.NodeSystemInfo": {"runningInUserNamespace"},
    "core.PersistentVolumeClaimStatus": {"healthStatus"},
    "core.PodStatus": {"allocatedResources", "resources"},
    "core.ResourceHealth": {"message"},
    "storage.CSIDriverSpec": {"preventPodSchedulingIfMissing", "serviceAccountTokenInSecrets"},
    "storage.CSINode": {"status"},
}
# Kinds and types that are newer as a whole, or that no kubectl holds.
WITHOUT = {
    "admissionregistration": {
        "ApplyConfiguration", "JSONPatch", "Mutation", "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBindingSpec",
        "MutatingAdmissionPolicySpec",
    },
    "certificates": {
        "ClusterTrustBundle", "ClusterTrustBundleSpec", "PodCertificateRequest",
        "PodCertificateRequestSpec", "PodCertificateRequestStatus",
    },
    "core": {"VolumeHealthCondition", "VolumeHealthStatus"},
    "meta": {"ListMeta", "Status", "StatusCause", "StatusDetails"},
    "storage": {"CSINodeStatus", "StorageHealth", "StorageHealthCondition"},
}  # fmt: skip
NOT_IN_KUBECTL = ("apiregistration",)


def message_of(name: str) -> str:
    extensions = "io.k8s.apiextensions-apiserver.pkg.apis."
    return name.removeprefix("io.k8s.api.").removeprefix(extensions).replace(META, "meta.v1.")


def json_names(message: str) -> Iterator[str]:
    for field, kind in MESSAGES[message].values():
        if kind.startswith("<"):
            yield from json_names(kind[1:-1])
        else:
            yield field


def test_the_table_is_closed() -> None:
    for fields in MESSAGES.values():
        for _, kind in fields.values():
            assert kind.strip("[]{}<>") in SPECIAL | MESSAGES.keys()


def test_every_field_has_its_number() -> None:
    for names in closure([*ALSO, *kinds()]).values():
        for name in names:
            place = published_place(name)
            if place.module in NOT_IN_KUBECTL or place.name in WITHOUT.get(place.module, ()):
                assert message_of(name) not in MESSAGES, f"{place} has numbers now"
                continue
            missing = properties_of(name).keys() - set(json_names(message_of(name)))
            assert missing - {"apiVersion", "kind"} == NEWER.get(str(place), set()), place


# A body in protobuf of a kind that is too new is refused; every client has JSON too.
NUMBERED = [
    kind.resource
    for kind in KINDS
    if kind.resource.kind not in {name for names in WITHOUT.values() for name in names}
]


@pytest.mark.parametrize("resource", NUMBERED, ids=lambda resource: resource.kind)
def test_every_served_kind_is_read(resource: Resource) -> None:
    api_version, kind = resource.api_version, resource.kind

    def part(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    meta = part(1, api_version.encode()) + part(2, kind.encode())
    raw = part(1, part(1, b"name"))
    found = decode_body(MAGIC + part(1, meta) + part(2, raw))
    assert found == {"apiVersion": api_version, "kind": kind, "metadata": {"name": "name"}}


def test_what_json_has_as_a_list_or_as_it_came_is_read_so() -> None:
    def part(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    extra = part(1, b"k") + part(2, part(1, b"a") + part(1, b"b"))
    meta = part(1, b"authorization.k8s.io/v1") + part(2, b"SubjectAccessReview")
    review = decode_body(MAGIC + part(1, meta) + part(2, part(2, part(5, extra))))
    assert review["spec"] == {"extra": {"k": ["a", "b"]}}
    meta = part(1, b"apps/v1") + part(2, b"ControllerRevision")
    raw = part(2, part(1, b'{"spec":{"x":1}}'))
    revision = decode_body(MAGIC + part(1, meta) + part(2, raw))
    assert revision["data"] == {"spec": {"x": 1}}
