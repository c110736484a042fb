"""Leases. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.coordination import Lease
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field


def validate(obj: Lease) -> Causes:
    causes: Causes = []
    duration = obj.spec.lease_duration_seconds
    if duration is not None and duration <= 0:
        causes.append(
            field.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0")
        )
    if obj.spec.lease_transitions is not None and obj.spec.lease_transitions < 0:
        causes.append(
            field.invalid(
                "spec.leaseTransitions",
                obj.spec.lease_transitions,
                "must be greater than or equal to 0",
            )
        )
    return causes


def cells(obj: Lease, now: datetime) -> Cells:
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, obj.spec.holder_identity, created]


KIND = Kind(
    resource=resource_for(Lease),
    columns=columns("Name Holder Age"),
    cells=cells,
    validate=validate,
    unconditional_update=False,
)
