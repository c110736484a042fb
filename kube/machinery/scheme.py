"""Which kinds exist, what they are called, and how their JSON is read and written.

One table serves everybody: the api-server's routes and discovery, the client's paths, owner
references, `kubectl api-resources`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from kube.api import apps, coordination, core, discovery
from kube.api.meta import ObjectMeta

# Any of the top-level kinds: has api_version, kind and metadata.
ApiObject = (
    core.Pod
    | core.Node
    | core.Namespace
    | core.Service
    | core.Endpoints
    | core.ConfigMap
    | core.Secret
    | core.ServiceAccount
    | core.Event
    | apps.Deployment
    | apps.ReplicaSet
    | coordination.Lease
    | discovery.EndpointSlice
)
T = TypeVar("T", bound=ApiObject)


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the API: names as `kubectl api-resources` prints them."""

    group: str
    version: str
    kind: str
    plural: str
    type: type[ApiObject]
    singular: str = ""
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """`v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES: tuple[Resource, ...] = (
    Resource(
        "", "v1", "Namespace", "namespaces", core.Namespace, "namespace",
        namespaced=False, short_names=("ns",),
    ),
    Resource(
        "", "v1", "Node", "nodes", core.Node, "node",
        namespaced=False, short_names=("no",),
    ),
    Resource(
        "", "v1", "Pod", "pods", core.Pod, "pod", short_names=("po",), categories=("all",),
    ),
    Resource(
        "", "v1", "Service", "services", core.Service, "service",
        short_names=("svc",), categories=("all",),
    ),
    Resource(
        "", "v1", "Endpoints", "endpoints", core.Endpoints, "endpoints", short_names=("ep",)
    ),
    Resource(
        "", "v1", "ConfigMap", "configmaps", core.ConfigMap, "configmap", short_names=("cm",)
    ),
    Resource("", "v1", "Secret", "secrets", core.Secret, "secret"),
    Resource(
        "", "v1", "ServiceAccount", "serviceaccounts", core.ServiceAccount, "serviceaccount",
        short_names=("sa",),
    ),
    Resource("", "v1", "Event", "events", core.Event, "event", short_names=("ev",)),
    Resource(
        "apps", "v1", "Deployment", "deployments", apps.Deployment, "deployment",
        short_names=("deploy",), categories=("all",),
    ),
    Resource(
        "apps", "v1", "ReplicaSet", "replicasets", apps.ReplicaSet, "replicaset",
        short_names=("rs",), categories=("all",),
    ),
    Resource("coordination.k8s.io", "v1", "Lease", "leases", coordination.Lease, "lease"),
    Resource(
        "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", discovery.EndpointSlice,
        "endpointslice",
    ),
)  # fmt: skip

_BY_TYPE: dict[type, Resource] = {resource.type: resource for resource in RESOURCES}
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in RESOURCES}
_BY_PLURAL = {(resource.group, resource.plural): resource for resource in RESOURCES}


def resource_for(type_: type[ApiObject]) -> Resource:
    """The table row of a type; KeyError for a type that is no top-level kind."""
    return _BY_TYPE[type_]


def resource_for_kind(api_version: str, kind: str) -> Resource | None:
    return _BY_KIND.get((api_version, kind))


def resource_for_plural(group: str, plural: str) -> Resource | None:
    return _BY_PLURAL.get((group, plural))


class TypeMeta(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Just enough of an object to know what it is."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


_encoder = msgspec.json.Encoder()
_TYPE_DEFAULTS: dict[type, dict[str, str]] = {
    resource.type: {"api_version": made.api_version, "kind": made.kind}
    for resource in RESOURCES
    for made in (resource.type(),)
}
_type_meta = msgspec.json.Decoder(TypeMeta)
# Made when the first object of a kind is read: an agent reads three or four of the kinds, and
# what a decoder knows of a type and all below it takes more memory than the type itself.
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def encode(obj: msgspec.Struct) -> bytes:
    """Canonical JSON: fields in the type's order, what is empty left out, kind included."""
    resource = _BY_TYPE.get(type(obj))
    if resource is None:
        return _encoder.encode(obj)
    # `omit_defaults` leaves out what *is* the default object. A decoded "v1" only equals it,
    # and would stand in the text twice.
    body = _encoder.encode(msgspec.structs.replace(obj, **_TYPE_DEFAULTS[type(obj)]))
    head = f'{{"apiVersion":"{resource.api_version}","kind":"{resource.kind}"'.encode()
    return head + (b"," + body[1:] if len(body) > 2 else b"}")


def decode(type_: type[T], data: bytes | str) -> T:
    """JSON to a typed object. Raises msgspec.ValidationError that names the field's path."""
    decoder: msgspec.json.Decoder[T] | None = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.json.Decoder(type_)
    return decoder.decode(data)


def decode_meta(data: bytes | str) -> TypeMeta:
    """Only apiVersion, kind and metadata: several times faster than the whole object."""
    return _type_meta.decode(data)


def decode_any(data: bytes | str) -> ApiObject:
    """JSON of any known kind. Raises ValueError for a kind that the scheme lacks."""
    meta = decode_meta(data)
    resource = resource_for_kind(meta.api_version, meta.kind)
    if resource is None:
        raise ValueError(f'no kind "{meta.kind}" is registered for version "{meta.api_version}"')
    return decode(resource.type, data)


def key_of(obj: ApiObject) -> str:
    """`namespace/name`, or `name` for what has no namespace: the key of queues and caches."""
    meta = obj.metadata
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
