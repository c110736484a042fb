"""DaemonSets (pkg/apis/apps/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.apps import (
    DaemonSet,
    DaemonSetStatus,
    DaemonSetUpdateStrategy,
    RollingUpdateDaemonSet,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import (
    default_template,
    fresh_status,
    selector_stays,
    value_or,
)
from master.apiserver.kinds.cell import age, containers, labels, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.apps import validate_daemonset

HISTORY_LIMIT = 10
NOBODY = DaemonSetStatus(
    current_number_scheduled=0, number_misscheduled=0, desired_number_scheduled=0, number_ready=0
)


def default(obj: DaemonSet) -> DaemonSet:
    spec = replace(
        obj.spec,
        revision_history_limit=value_or(obj.spec.revision_history_limit, HISTORY_LIMIT),
        update_strategy=_strategy(obj.spec.update_strategy or DaemonSetUpdateStrategy()),
        template=default_template(obj.spec.template),
    )
    return replace(obj, spec=spec)


def _strategy(strategy: DaemonSetUpdateStrategy) -> DaemonSetUpdateStrategy:
    if strategy.type not in ("", "RollingUpdate"):
        return strategy
    rolling = strategy.rolling_update or RollingUpdateDaemonSet()
    return DaemonSetUpdateStrategy(
        type="RollingUpdate",
        rolling_update=RollingUpdateDaemonSet(
            max_surge=0 if rolling.max_surge is None else rolling.max_surge,
            max_unavailable=1 if rolling.max_unavailable is None else rolling.max_unavailable,
        ),
    )


def cells(obj: DaemonSet, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    status = obj.status
    return [
        obj.metadata.name,
        status.desired_number_scheduled or 0,
        status.current_number_scheduled or 0,
        status.number_ready or 0,
        status.updated_number_scheduled or 0,
        status.number_available or 0,
        labels(obj.spec.template.spec.node_selector),
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selector(obj.spec.selector),
    ]


KIND = Kind(
    resource=resource_for(DaemonSet),
    columns=columns(
        "Name Desired# Current# Ready# Up-to-date# Available# Node_Selector Age Containers+ "
        "Images+ Selector+"
    ),
    cells=cells,
    default=default,
    on_create=fresh_status(lambda: NOBODY),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_daemonset,
    validate_update=selector_stays,
    counted=spec_of,
    subresources=(STATUS,),
)
