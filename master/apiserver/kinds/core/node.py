"""Nodes. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from kube.api.core import Node, NodeSpec, NodeSystemInfo
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import NONE, UNKNOWN, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.fields import Fields, Part, text
from master.apiserver.kinds.kind import Kind, keep_spec
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.node import validate_node, validate_node_update

_ROLE = "node-role.kubernetes.io/"


def on_create(obj: Node) -> Node:
    # Configuration by the API is gone; the field is kept only where it is stored already.
    return replace(obj, spec=replace(obj.spec, config_source=None))


def default(obj: Node) -> Node:
    obj = replace(obj, spec=_one_range(obj.spec))
    if obj.status.allocatable or not obj.status.capacity:
        return obj
    return replace(obj, status=replace(obj.status, allocatable=obj.status.capacity))


def on_update(new: Node, old: Node) -> Node:
    if old.spec.config_source is None:
        new = replace(new, spec=replace(new.spec, config_source=None))
    return replace(new, status=old.status)


def _one_range(spec: NodeSpec) -> NodeSpec:
    """podCIDR and podCIDRs say the same: the older field wins where both are set."""
    if spec.pod_cidr and spec.pod_cidrs[:1] != (spec.pod_cidr,):
        return replace(spec, pod_cidrs=(spec.pod_cidr,))
    if spec.pod_cidrs and not spec.pod_cidr:
        return replace(spec, pod_cidr=spec.pod_cidrs[0])
    return spec


class _NodeSpec(Struct, rename="camel", frozen=True):
    unschedulable: bool = False


class _Node(Part, rename="camel", frozen=True):
    spec: _NodeSpec = _NodeSpec()


def selectable(node: _Node) -> dict[str, str]:
    return {"spec.unschedulable": text(node.spec.unschedulable)}


def cells(obj: Node, now: datetime) -> Cells:
    info = obj.status.node_info or NodeSystemInfo()
    addresses = {address.type: address.address for address in obj.status.addresses}
    return [
        obj.metadata.name,
        _node_status(obj),
        _roles(obj),
        age(obj.metadata.creation_timestamp, now),
        info.kubelet_version,
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.os_image or UNKNOWN,
        info.kernel_version or UNKNOWN,
        info.container_runtime_version or UNKNOWN,
    ]


def _node_status(obj: Node) -> str:
    ready = {c.type: c.status for c in obj.status.conditions}.get("Ready")
    status = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if obj.spec.unschedulable else status


def _roles(obj: Node) -> str:
    roles = {key.removeprefix(_ROLE) for key in obj.metadata.labels if key.startswith(_ROLE)}
    if legacy := obj.metadata.labels.get("kubernetes.io/role"):
        roles.add(legacy)
    return ",".join(sorted(filter(None, roles))) or NONE


KIND = Kind(
    resource=resource_for(Node),
    columns=columns(
        "Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ "
        "Container-Runtime+"
    ),
    cells=cells,
    fields=Fields(_Node, selectable),
    default=default,
    on_create=on_create,
    on_update=on_update,
    on_status=keep_spec,
    validate=validate_node,
    validate_update=validate_node_update,
    stored_under="minions",
    subresources=(STATUS,),
)
