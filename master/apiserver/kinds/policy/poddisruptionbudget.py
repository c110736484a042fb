"""PodDisruptionBudgets. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.policy import PodDisruptionBudget, PodDisruptionBudgetStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.amounts import Amount
from master.apiserver.registry.validation.disruption import (
    validate_budget,
    validate_budget_status,
)

NOTHING = PodDisruptionBudgetStatus(
    current_healthy=0, desired_healthy=0, disruptions_allowed=0, expected_pods=0
)


def cells(obj: PodDisruptionBudget, now: datetime) -> Cells:
    return [
        obj.metadata.name,
        _amount(obj.spec.min_available),
        _amount(obj.spec.max_unavailable),
        obj.status.disruptions_allowed or 0,
        age(obj.metadata.creation_timestamp, now),
    ]


def _amount(value: Amount) -> str:
    return "N/A" if value is None else str(value)


KIND = Kind(
    resource=resource_for(PodDisruptionBudget),
    columns=columns("Name Min_Available Max_Unavailable Allowed_Disruptions# Age"),
    cells=cells,
    on_create=fresh_status(lambda: NOTHING),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_budget,
    validate_status=validate_budget_status,
    counted=spec_of,
    subresources=(STATUS,),
)
