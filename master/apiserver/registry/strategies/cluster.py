"""Namespaces and nodes."""

from __future__ import annotations

from msgspec.structs import replace

from kube.api.core import Namespace, NamespaceStatus, Node, NodeSpec
from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.strategy import Causes, StatusStrategy
from master.apiserver.registry.validation.metadata import dns_label
from master.apiserver.registry.validation.node import validate_node, validate_node_update

NAMESPACE_FINALIZER = "kubernetes"
# What the NamespaceLifecycle admission plugin keeps from deletion.
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(StatusStrategy[Namespace]):
    """A namespace outlives its deletion until the namespace controller has emptied it and
    taken the finalizer `kubernetes` out of its spec."""

    returns_deleted = True

    def check_name(self, name: str) -> str | None:
        return dns_label(name)

    def prepare_create(self, obj: Namespace) -> Namespace:
        finalizers = obj.spec.finalizers
        if NAMESPACE_FINALIZER not in finalizers:
            finalizers = (*finalizers, NAMESPACE_FINALIZER)
        return replace(
            obj,
            spec=replace(obj.spec, finalizers=finalizers),
            status=NamespaceStatus(phase="Active"),
        )

    def default(self, obj: Namespace) -> Namespace:
        return with_meta(obj, labels={**obj.metadata.labels, NAME_LABEL: obj.metadata.name})

    def prepare_update(self, new: Namespace, old: Namespace) -> Namespace:
        # spec.finalizers change through the `finalize` subresource only.
        return replace(new, spec=old.spec, status=old.status)

    def may_delete(self, name: str) -> bool:
        return name not in IMMORTAL

    def mark_deleted(self, obj: Namespace) -> Namespace:
        return replace(obj, status=replace(obj.status, phase="Terminating"))

    def holds(self, obj: Namespace) -> bool:
        return bool(obj.spec.finalizers)


class NodeStrategy(StatusStrategy[Node]):
    def prepare_create(self, obj: Node) -> Node:
        # Configuration by the API is gone; the field is kept only where it is stored already.
        return replace(obj, spec=replace(obj.spec, config_source=None))

    def default(self, obj: Node) -> Node:
        obj = replace(obj, spec=_one_range(obj.spec))
        if obj.status.allocatable or not obj.status.capacity:
            return obj
        return replace(obj, status=replace(obj.status, allocatable=obj.status.capacity))

    def prepare_update(self, new: Node, old: Node) -> Node:
        if old.spec.config_source is None:
            new = replace(new, spec=replace(new.spec, config_source=None))
        return replace(new, status=old.status)

    def validate(self, obj: Node) -> Causes:
        return validate_node(obj)

    def validate_update(self, new: Node, old: Node) -> Causes:
        return validate_node_update(new, old)


def _one_range(spec: NodeSpec) -> NodeSpec:
    """podCIDR and podCIDRs say the same: the older field wins where both are set."""
    if spec.pod_cidr and spec.pod_cidrs[:1] != (spec.pod_cidr,):
        return replace(spec, pod_cidrs=(spec.pod_cidr,))
    if spec.pod_cidrs and not spec.pod_cidr:
        return replace(spec, pod_cidr=spec.pod_cidrs[0])
    return spec
