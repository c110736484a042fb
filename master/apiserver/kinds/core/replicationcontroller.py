"""ReplicationControllers (pkg/apis/core/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.core import PodTemplateSpec, ReplicationController, ReplicationControllerStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.replicaset import COLUMNS, FIELDS, replica_cells
from master.apiserver.kinds.apps.template import default_template, fresh_status, value_or
from master.apiserver.kinds.cell import labels
from master.apiserver.kinds.columns import Cells
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.scale import SCALE
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.validation.replicationcontroller import (
    validate_replicationcontroller,
)


def default(obj: ReplicationController) -> ReplicationController:
    spec, made = obj.spec, obj.spec.template.metadata.labels
    template = spec.template
    if template != PodTemplateSpec():  # none at all is refused
        template = default_template(template)
    spec = replace(
        spec,
        replicas=value_or(spec.replicas, 1),
        selector=spec.selector or made,
        template=template,
    )
    return with_meta(replace(obj, spec=spec), labels=obj.metadata.labels or made)


def cells(obj: ReplicationController, now: datetime) -> Cells:
    return replica_cells(obj, labels(obj.spec.selector), now)


KIND = Kind(
    resource=resource_for(ReplicationController),
    columns=COLUMNS,
    cells=cells,
    fields=FIELDS,
    default=default,
    on_create=fresh_status(lambda: ReplicationControllerStatus(replicas=0)),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_replicationcontroller,
    counted=spec_of,
    orphans=True,
    stored_under="controllers",
    subresources=(STATUS, SCALE),
)
