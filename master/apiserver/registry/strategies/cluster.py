"""Namespaces and nodes."""

from __future__ import annotations

from msgspec.structs import replace

from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.strategy import Causes, StatusStrategy
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_label
from muster.api.core import Namespace, NamespaceStatus, Node

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
    def default(self, obj: Node) -> Node:
        if obj.status.allocatable or not obj.status.capacity:
            return obj
        return replace(obj, status=replace(obj.status, allocatable=obj.status.capacity))

    def prepare_update(self, new: Node, old: Node) -> Node:
        return replace(new, status=old.status)

    def validate_update(self, new: Node, old: Node) -> Causes:
        causes: Causes = []
        if old.spec.pod_cidr and new.spec.pod_cidr != old.spec.pod_cidr:
            causes.append(
                field.forbidden(
                    "spec.podCIDR", 'node updates may not change podCIDR except from "" to valid'
                )
            )
        if old.spec.provider_id and new.spec.provider_id != old.spec.provider_id:
            causes.append(
                field.forbidden(
                    "spec.providerID",
                    'node updates may not change providerID except from "" to valid',
                )
            )
        return causes

    def validate(self, obj: Node) -> Causes:
        causes: Causes = []
        seen = set()
        for index, taint in enumerate(obj.spec.taints):
            path = f"spec.taints[{index}]"
            if not taint.key:
                causes.append(field.required(f"{path}.key"))
            if taint.effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
                causes.append(
                    field.not_supported(
                        f"{path}.effect",
                        taint.effect,
                        ("NoSchedule", "PreferNoSchedule", "NoExecute"),
                    )
                )
            if (taint.key, taint.effect) in seen:
                causes.append(field.duplicate(path, {"key": taint.key, "effect": taint.effect}))
            seen.add((taint.key, taint.effect))
        return causes
