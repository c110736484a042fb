"""Namespaces. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from kube.api.core import Namespace, NamespaceStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Kind, keep_spec
from master.apiserver.kinds.parts.subresource import STATUS, Subresource
from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.validation.metadata import dns_label

# A namespace outlives its deletion until the namespace controller has emptied it and taken this
# finalizer out of its spec.
FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


def on_create(obj: Namespace) -> Namespace:
    finalizers = obj.spec.finalizers
    if FINALIZER not in finalizers:
        finalizers = (*finalizers, FINALIZER)
    return replace(
        # A generated name is known only now.
        default(obj),
        spec=replace(obj.spec, finalizers=finalizers),
        status=NamespaceStatus(phase="Active"),
    )


def default(obj: Namespace) -> Namespace:
    return with_meta(obj, labels={**obj.metadata.labels, NAME_LABEL: obj.metadata.name})


def on_update(new: Namespace, old: Namespace) -> Namespace:
    # spec.finalizers change through the `finalize` subresource only.
    return replace(new, spec=old.spec, status=old.status)


def mark_deleted(obj: Namespace) -> Namespace:
    return replace(obj, status=replace(obj.status, phase="Terminating"))


def holds(obj: Namespace) -> bool:
    return bool(obj.spec.finalizers)


class _Phase(Struct, rename="camel", frozen=True):
    phase: str = ""


class _Namespace(Part, rename="camel", frozen=True):
    status: _Phase = _Phase()


def selectable(namespace: _Namespace) -> dict[str, str]:
    return {"status.phase": namespace.status.phase}


def cells(obj: Namespace, now: datetime) -> Cells:
    return [obj.metadata.name, obj.status.phase, age(obj.metadata.creation_timestamp, now)]


def finalized(obj: Namespace, wanted: Namespace, _: str) -> Namespace:
    return replace(obj, spec=replace(obj.spec, finalizers=wanted.spec.finalizers))


FINALIZE = Subresource(name="finalize", verbs=("update",), kind="Namespace", edit=finalized)
KIND = Kind(
    resource=resource_for(Namespace),
    columns=columns("Name Status Age"),
    cells=cells,
    fields=Fields(_Namespace, selectable),
    default=default,
    on_create=on_create,
    on_update=on_update,
    on_status=keep_spec,
    check_name=dns_label,
    mark_deleted=mark_deleted,
    holds=holds,
    answers_deleted=True,
    subresources=(STATUS, FINALIZE),
)
