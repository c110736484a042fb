"""Deployments and ReplicaSets (pkg/apis/apps/v1/defaults.go)."""

from __future__ import annotations

from msgspec.structs import replace

from kube.api.apps import (
    Deployment,
    DeploymentStatus,
    DeploymentStrategy,
    ReplicaSet,
    ReplicaSetStatus,
    RollingUpdateDeployment,
)
from kube.api.core import PodTemplateSpec
from master.apiserver.registry.strategies.podspec import default_pod_spec
from master.apiserver.registry.strategy import Causes, StatusStrategy
from master.apiserver.registry.validation.apps import (
    validate_deployment,
    validate_replicaset,
    validate_selector_unchanged,
)

QUARTER = "25%"
HISTORY_LIMIT = 10
PROGRESS_SECONDS = 600


def _template(template: PodTemplateSpec) -> PodTemplateSpec:
    return replace(template, spec=default_pod_spec(template.spec))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


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


class DeploymentStrategyRules(StatusStrategy[Deployment]):
    has_generation = True

    def prepare_create(self, obj: Deployment) -> Deployment:
        return replace(obj, status=DeploymentStatus())

    def default(self, obj: Deployment) -> Deployment:
        spec = obj.spec
        return replace(
            obj,
            spec=replace(
                spec,
                replicas=_or(spec.replicas, 1),
                revision_history_limit=_or(spec.revision_history_limit, HISTORY_LIMIT),
                progress_deadline_seconds=_or(spec.progress_deadline_seconds, PROGRESS_SECONDS),
                strategy=_strategy(spec.strategy),
                template=_template(spec.template),
            ),
        )

    def validate(self, obj: Deployment) -> Causes:
        return validate_deployment(obj)

    def validate_update(self, new: Deployment, old: Deployment) -> Causes:
        return validate_selector_unchanged(new.spec.selector, old.spec.selector)


class ReplicaSetStrategy(StatusStrategy[ReplicaSet]):
    has_generation = True

    def prepare_create(self, obj: ReplicaSet) -> ReplicaSet:
        return replace(obj, status=ReplicaSetStatus(replicas=0))

    def default(self, obj: ReplicaSet) -> ReplicaSet:
        spec = replace(
            obj.spec, replicas=_or(obj.spec.replicas, 1), template=_template(obj.spec.template)
        )
        return replace(obj, spec=spec)

    def validate(self, obj: ReplicaSet) -> Causes:
        return validate_replicaset(obj)

    def validate_update(self, new: ReplicaSet, old: ReplicaSet) -> Causes:
        return validate_selector_unchanged(new.spec.selector, old.spec.selector)
