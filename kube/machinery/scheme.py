"""What the kinds of the API are called, and how their JSON is read and written.

One table serves everybody: the api-server's declarations of kinds, the client's paths, owner
references. Which of them a server has is known only by asking it; what it has beside them, such
as custom resources, comes with a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import msgspec

from kube.api.meta import ObjectMeta
from kube.api.object import ApiObject, OpenObject

__all__ = ["ApiObject", "OpenObject", "Resource"]
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

    @property
    def metadata_only(self) -> Resource:
        """The same, for those who read nothing but metadata."""
        return replace(self, type=ApiObject)


class _Row(NamedTuple):
    """What is not in the type: it is imported when somebody asks for it."""

    module: str
    kind: str
    plural: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]


# Module of kube.api and apiVersion; then kind, plural, and what else: short names, `cluster` for
# what has no namespace, `@category`.
_NAMES = """
core v1
  Binding bindings
  ComponentStatus componentstatuses cs cluster
  ConfigMap configmaps cm
  Endpoints endpoints ep
  Event events ev
  LimitRange limitranges limits
  Namespace namespaces ns cluster
  Node nodes no cluster
  PersistentVolume persistentvolumes pv cluster
  PersistentVolumeClaim persistentvolumeclaims pvc
  Pod pods po @all
  PodTemplate podtemplates
  ReplicationController replicationcontrollers rc @all
  ResourceQuota resourcequotas quota
  Secret secrets
  Service services svc @all
  ServiceAccount serviceaccounts sa
admissionregistration admissionregistration.k8s.io/v1
  MutatingAdmissionPolicy mutatingadmissionpolicies cluster @api-extensions
  MutatingAdmissionPolicyBinding mutatingadmissionpolicybindings cluster @api-extensions
  MutatingWebhookConfiguration mutatingwebhookconfigurations cluster @api-extensions
  ValidatingAdmissionPolicy validatingadmissionpolicies cluster @api-extensions
  ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings cluster @api-extensions
  ValidatingWebhookConfiguration validatingwebhookconfigurations cluster @api-extensions
apiextensions apiextensions.k8s.io/v1
  CustomResourceDefinition customresourcedefinitions crd crds cluster @api-extensions
apiregistration apiregistration.k8s.io/v1
  APIService apiservices cluster @api-extensions
apps apps/v1
  ControllerRevision controllerrevisions
  DaemonSet daemonsets ds @all
  Deployment deployments deploy @all
  ReplicaSet replicasets rs @all
  StatefulSet statefulsets sts @all
authentication authentication.k8s.io/v1
  SelfSubjectReview selfsubjectreviews cluster
  TokenReview tokenreviews cluster
authorization authorization.k8s.io/v1
  LocalSubjectAccessReview localsubjectaccessreviews
  SelfSubjectAccessReview selfsubjectaccessreviews cluster
  SelfSubjectRulesReview selfsubjectrulesreviews cluster
  SubjectAccessReview subjectaccessreviews cluster
autoscaling autoscaling/v1
  HorizontalPodAutoscaler horizontalpodautoscalers hpa @all
autoscaling_v2 autoscaling/v2
  HorizontalPodAutoscaler horizontalpodautoscalers hpa @all
batch batch/v1
  CronJob cronjobs cj @all
  Job jobs @all
certificates certificates.k8s.io/v1
  CertificateSigningRequest certificatesigningrequests csr cluster
  ClusterTrustBundle clustertrustbundles cluster
  PodCertificateRequest podcertificaterequests
coordination coordination.k8s.io/v1
  Lease leases
discovery discovery.k8s.io/v1
  EndpointSlice endpointslices
events events.k8s.io/v1
  Event events ev
flowcontrol flowcontrol.apiserver.k8s.io/v1
  FlowSchema flowschemas cluster
  PriorityLevelConfiguration prioritylevelconfigurations cluster
networking networking.k8s.io/v1
  IPAddress ipaddresses ip cluster
  Ingress ingresses ing
  IngressClass ingressclasses cluster
  NetworkPolicy networkpolicies netpol
  ServiceCIDR servicecidrs cluster
node node.k8s.io/v1
  RuntimeClass runtimeclasses cluster
policy policy/v1
  PodDisruptionBudget poddisruptionbudgets pdb
rbac rbac.authorization.k8s.io/v1
  ClusterRole clusterroles cluster
  ClusterRoleBinding clusterrolebindings cluster
  Role roles
  RoleBinding rolebindings
scheduling scheduling.k8s.io/v1
  PriorityClass priorityclasses pc cluster
storage storage.k8s.io/v1
  CSIDriver csidrivers cluster
  CSINode csinodes cluster
  CSIStorageCapacity csistoragecapacities
  StorageClass storageclasses sc cluster
  VolumeAttachment volumeattachments cluster
  VolumeAttributesClass volumeattributesclasses vac cluster
"""


def _rows() -> Iterator[tuple[tuple[str, str], _Row]]:
    module = api_version = ""
    for line in _NAMES.strip().splitlines():
        if not line.startswith(" "):
            module, api_version = line.split()
            continue
        kind, plural, *more = line.split()
        categories = tuple(word[1:] for word in more if word.startswith("@"))
        short_names = tuple(word for word in more if word != "cluster" and word[0] != "@")
        row = _Row(module, kind, plural, "cluster" not in more, short_names, categories)
        yield (api_version, kind), row


_ROWS = dict(_rows())
_BY_TYPE: dict[type, Resource] = {}


def resource_for(type_: type[ApiObject]) -> Resource:
    """The row of a type; KeyError for a type that the table lacks."""
    known = _BY_TYPE.get(type_)
    if known is None:
        made = type_()
        known = _BY_TYPE[type_] = _resource(_ROWS[made.api_version, made.kind], made)
    return known


def _resource(row: _Row, made: ApiObject) -> Resource:
    group, _, version = made.api_version.rpartition("/")
    return Resource(
        group,
        version,
        row.kind,
        row.plural,
        type(made),
        row.kind.lower(),
        row.namespaced,
        row.short_names,
        row.categories,
    )


def resource_for_kind(api_version: str, kind: str) -> Resource | None:
    row = _ROWS.get((api_version, kind))
    if row is None:
        return None
    return resource_for(getattr(import_module(f"kube.api.{row.module}"), row.kind))


def published() -> tuple[tuple[str, str], ...]:
    """apiVersion and kind of all rows."""
    return tuple(_ROWS)


_encoder = msgspec.json.Encoder()
_TYPE_DEFAULTS: dict[type, tuple[bytes, dict[str, Any]]] = {}
# Made when the first object of a kind is read: an agent reads three or four of the kinds, and
# what a decoder knows of a type and all below it takes more memory than the type itself.
_decoders: dict[type[Any], Callable[[bytes | str], Any]] = {}


def encode(obj: msgspec.Struct) -> bytes:
    """Canonical JSON: fields in the type's order, what is empty left out, kind included."""
    if not isinstance(obj, ApiObject):
        return _encoder.encode(obj)
    if isinstance(obj, OpenObject):
        return _encoder.encode(plain(obj))
    head, defaults = _type_defaults(type(obj))
    # `omit_defaults` leaves out what *is* the default object. A decoded "v1" only equals it,
    # and would stand in the text twice.
    body = _encoder.encode(msgspec.structs.replace(obj, **defaults))
    return head + (b"," + body[1:] if len(body) > 2 else b"}")


def _type_defaults(type_: type[ApiObject]) -> tuple[bytes, dict[str, Any]]:
    """How the JSON of a type begins, and the defaults of what stands there."""
    known = _TYPE_DEFAULTS.get(type_)
    if known is None:
        made = type_()
        head = f'{{"apiVersion":"{made.api_version}","kind":"{made.kind}"'.encode()
        defaults = {"api_version": made.api_version, "kind": made.kind}
        known = _TYPE_DEFAULTS[type_] = (head, defaults)
    return known


def plain(obj: OpenObject) -> dict[str, Any]:
    """The object as its JSON has it, but for the metadata, which is still typed."""
    head = {"apiVersion": obj.api_version, "kind": obj.kind, "metadata": obj.metadata}
    return head | obj.content


def opened(value: dict[str, Any]) -> OpenObject:
    """The open object of plain JSON. Raises msgspec.ValidationError."""
    content = {k: v for k, v in value.items() if k not in ("apiVersion", "kind", "metadata")}
    return OpenObject(
        api_version=msgspec.convert(value.get("apiVersion", ""), str),
        kind=msgspec.convert(value.get("kind", ""), str),
        metadata=msgspec.convert(value.get("metadata", {}), ObjectMeta),
        content=content,
    )


def _decode_open(data: bytes | str) -> OpenObject:
    return opened(msgspec.json.decode(data, type=dict))


def decode(type_: type[T], data: bytes | str) -> T:
    """JSON to a typed object. Raises msgspec.ValidationError that names the field's path."""
    decode_one: Callable[[bytes | str], T] | None = _decoders.get(type_)
    if decode_one is None:
        decode_one = _decoders[type_] = msgspec.json.Decoder(type_).decode
    return decode_one(data)


_decoders[OpenObject] = _decode_open


def decode_meta(data: bytes | str) -> ApiObject:
    """Only apiVersion, kind and metadata: several times faster than the whole object."""
    return decode(ApiObject, data)


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
