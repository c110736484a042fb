"""ReplicaSets (pkg/apis/apps/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from kube.api.apps import ReplicaSet, ReplicaSetStatus
from kube.api.core import ReplicationController
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import default_template, selector_stays, value_or
from master.apiserver.kinds.cell import age, containers, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.scale import SCALE
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.apps import validate_replicaset


def on_create(obj: ReplicaSet) -> ReplicaSet:
    return replace(obj, status=ReplicaSetStatus(replicas=0))


def default(obj: ReplicaSet) -> ReplicaSet:
    spec = obj.spec
    replicas, template = value_or(spec.replicas, 1), default_template(spec.template)
    return replace(obj, spec=replace(spec, replicas=replicas, template=template))


class _Replicas(Struct, rename="camel", frozen=True):
    replicas: int = 0


class _ReplicaSet(Part, rename="camel", frozen=True):
    status: _Replicas = _Replicas()


def selectable(replica_set: _ReplicaSet) -> dict[str, str]:
    return {"status.replicas": str(replica_set.status.replicas)}


# A ReplicationController has these, the columns and the cells too.
FIELDS = Fields(_ReplicaSet, selectable)


COLUMNS = columns("Name Desired# Current# Ready# Age Containers+ Images+ Selector+")


def replica_cells(obj: ReplicaSet | ReplicationController, selected: str, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    return [
        obj.metadata.name,
        obj.spec.replicas or 0,
        obj.status.replicas or 0,
        obj.status.ready_replicas or 0,
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selected,
    ]


def cells(obj: ReplicaSet, now: datetime) -> Cells:
    return replica_cells(obj, selector(obj.spec.selector), now)


KIND = Kind(
    resource=resource_for(ReplicaSet),
    columns=COLUMNS,
    cells=cells,
    fields=FIELDS,
    default=default,
    on_create=on_create,
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_replicaset,
    validate_update=selector_stays,
    counted=spec_of,
    subresources=(STATUS, SCALE),
)
