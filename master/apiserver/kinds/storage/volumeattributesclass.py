"""VolumeAttributesClasses. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.storage import VolumeAttributesClass
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.storage import (
    validate_attributes,
    validate_attributes_update,
)


def cells(obj: VolumeAttributesClass, now: datetime) -> Cells:
    return [obj.metadata.name, obj.driver_name, age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=resource_for(VolumeAttributesClass),
    columns=columns("Name DriverName Age"),
    cells=cells,
    validate=validate_attributes,
    validate_update=validate_attributes_update,
    answers_deleted=True,
)
