"""ControllerRevisions: what a workload's template was, once. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.apps import ControllerRevision
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import NONE, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.template import unchanged


def validate(obj: ControllerRevision) -> Causes:
    causes = [] if obj.data is not None else [field.required("data", "data is mandatory")]
    return causes + formats.at_least("revision", obj.revision, 0)


def validate_update(new: ControllerRevision, old: ControllerRevision) -> Causes:
    return unchanged("data", new.data, old.data)


def cells(obj: ControllerRevision, now: datetime) -> Cells:
    owners = [owner for owner in obj.metadata.owner_references if owner.controller]
    shown = NONE
    if owners:
        group = owners[0].api_version.rpartition("/")[0]
        kind = f"{owners[0].kind}.{group}" if group else owners[0].kind
        shown = f"{kind.lower()}/{owners[0].name}"
    return [
        obj.metadata.name,
        shown,
        obj.revision or 0,
        age(obj.metadata.creation_timestamp, now),
    ]


KIND = Kind(
    resource=resource_for(ControllerRevision),
    columns=columns("Name Controller Revision# Age"),
    cells=cells,
    validate=validate,
    validate_update=validate_update,
)
