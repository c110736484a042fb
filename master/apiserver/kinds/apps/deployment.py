"""Deployments (pkg/apis/apps/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.apps import Deployment, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import default_template, selector_stays, value_or
from master.apiserver.kinds.cell import age, containers, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.scale import SCALE
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.apps import validate_deployment

QUARTER = "25%"
HISTORY_LIMIT = 10
PROGRESS_SECONDS = 600


def on_create(obj: Deployment) -> Deployment:
    return replace(obj, status=DeploymentStatus())


def default(obj: Deployment) -> Deployment:
    spec = obj.spec
    spec = replace(
        spec,
        replicas=value_or(spec.replicas, 1),
        revision_history_limit=value_or(spec.revision_history_limit, HISTORY_LIMIT),
        progress_deadline_seconds=value_or(spec.progress_deadline_seconds, PROGRESS_SECONDS),
        strategy=_strategy(spec.strategy),
        template=default_template(spec.template),
    )
    return replace(obj, spec=spec)


def _strategy(strategy: DeploymentStrategy | None) -> DeploymentStrategy:
    strategy = strategy or DeploymentStrategy()
    type_ = strategy.type or "RollingUpdate"
    if type_ != "RollingUpdate":
        return strategy
    rolling = strategy.rolling_update or RollingUpdateDeployment()
    return DeploymentStrategy(
        type=type_,
        rolling_update=RollingUpdateDeployment(
            max_surge=QUARTER if rolling.max_surge is None else rolling.max_surge,
            max_unavailable=QUARTER if rolling.max_unavailable is None else rolling.max_unavailable,
        ),
    )


def cells(obj: Deployment, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    return [
        obj.metadata.name,
        f"{obj.status.ready_replicas or 0}/{obj.spec.replicas or 0}",
        obj.status.updated_replicas or 0,
        obj.status.available_replicas or 0,
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selector(obj.spec.selector),
    ]


KIND = Kind(
    resource=resource_for(Deployment),
    columns=columns("Name Ready Up-to-date# Available# Age Containers+ Images+ Selector+"),
    cells=cells,
    default=default,
    on_create=on_create,
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_deployment,
    validate_update=selector_stays,
    counted=spec_of,
    subresources=(STATUS, SCALE),
)
