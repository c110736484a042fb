"""Validation of the workloads of the group apps (pkg/apis/apps/validation). Pure."""

from __future__ import annotations

from msgspec.structs import replace

from kube.api.apps import (
    DaemonSet,
    DaemonSetUpdateStrategy,
    Deployment,
    DeploymentStrategy,
    ReplicaSet,
    RollingUpdateDaemonSet,
    RollingUpdateDeployment,
    StatefulSet,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)
from kube.api.core import PodTemplateSpec, Volume
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.amounts import (
    number_of,
    validate_amount,
    validate_share,
)
from master.apiserver.registry.validation.metadata import dns_1035
from master.apiserver.registry.validation.template import (
    validate_endless,
    validate_selects,
    validate_template,
)

Causes = list[StatusCause]
_TEMPLATE = "spec.template"
_RETENTION = ("Retain", "Delete")
_STATEFUL_SET_UPDATE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
    "'minReadySeconds' are forbidden"
)


def validate_deployment(obj: Deployment) -> Causes:
    spec = obj.spec
    causes = formats.at_least("spec.replicas", spec.replicas, 0)
    causes += formats.at_least("spec.minReadySeconds", spec.min_ready_seconds, 0)
    causes += formats.at_least("spec.revisionHistoryLimit", spec.revision_history_limit, 0)
    causes += formats.at_least("spec.progressDeadlineSeconds", spec.progress_deadline_seconds, 0)
    if spec.progress_deadline_seconds is not None and spec.progress_deadline_seconds <= (
        spec.min_ready_seconds or 0
    ):
        text = "must be greater than minReadySeconds"
        wrong = spec.progress_deadline_seconds
        causes.append(field.invalid("spec.progressDeadlineSeconds", wrong, text))
    causes += validate_selects(spec.selector, spec.template, "deployment")
    causes += _endless_template(spec.template, "Deployment")
    return causes + _strategy(spec.strategy or DeploymentStrategy(type="RollingUpdate"))


def _endless_template(template: PodTemplateSpec, kind: str) -> Causes:
    return validate_template(template, _TEMPLATE) + validate_endless(template, _TEMPLATE, kind)


def _strategy(strategy: DeploymentStrategy) -> Causes:
    choices = ("Recreate", "RollingUpdate")
    if strategy.type not in choices:
        return [field.not_supported("spec.strategy.type", strategy.type, choices)]
    if strategy.rolling_update is None:
        return []
    if strategy.type == "Recreate":
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [field.forbidden("spec.strategy.rollingUpdate", text)]
    return _rolling_update(strategy.rolling_update, "spec.strategy.rollingUpdate")


def _rolling_update(rolling: RollingUpdateDeployment, path: str) -> Causes:
    unavailable, surge = rolling.max_unavailable, rolling.max_surge
    causes = validate_amount(f"{path}.maxUnavailable", unavailable)
    causes += validate_amount(f"{path}.maxSurge", surge)
    causes += validate_share(f"{path}.maxUnavailable", unavailable)
    if not causes and not number_of(unavailable) and not number_of(surge):
        text = "may not be 0 when `maxSurge` is 0"
        causes.append(field.invalid(f"{path}.maxUnavailable", unavailable, text))
    return causes


def validate_replicaset(obj: ReplicaSet) -> Causes:
    causes = formats.at_least("spec.replicas", obj.spec.replicas, 0)
    causes += formats.at_least("spec.minReadySeconds", obj.spec.min_ready_seconds, 0)
    causes += validate_selects(obj.spec.selector, obj.spec.template, "replicaset")
    return causes + _endless_template(obj.spec.template, "ReplicaSet")


def validate_daemonset(obj: DaemonSet) -> Causes:
    spec = obj.spec
    causes = validate_selects(spec.selector, spec.template, "daemonset")
    causes += _endless_template(spec.template, "DaemonSet")
    causes += formats.at_least("spec.minReadySeconds", spec.min_ready_seconds, 0)
    causes += formats.at_least("spec.revisionHistoryLimit", spec.revision_history_limit, 0)
    return causes + _daemonset_strategy(spec.update_strategy or DaemonSetUpdateStrategy())


def _daemonset_strategy(strategy: DaemonSetUpdateStrategy) -> Causes:
    choices = ("RollingUpdate", "OnDelete")
    if strategy.type not in choices:
        return [field.not_supported("spec.updateStrategy.type", strategy.type, choices)]
    if strategy.type == "OnDelete":
        return []
    path = "spec.updateStrategy.rollingUpdate"
    if strategy.rolling_update is None:
        return [field.required(path)]
    return _daemonset_rolling(strategy.rolling_update, path)


def _daemonset_rolling(rolling: RollingUpdateDaemonSet, path: str) -> Causes:
    unavailable, surge = rolling.max_unavailable, rolling.max_surge
    causes: Causes = []
    for name, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        causes += validate_amount(f"{path}.{name}", value)
        causes += validate_share(f"{path}.{name}", value)
    if causes:
        return causes
    if number_of(unavailable) and number_of(surge):
        text = "may not be set when maxUnavailable is non-zero"
        return [field.invalid(f"{path}.maxSurge", surge, text)]
    if not number_of(unavailable) and not number_of(surge):
        return [field.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")]
    return []


def validate_statefulset(obj: StatefulSet) -> Causes:
    spec = obj.spec
    causes = _pod_management(spec.pod_management_policy)
    causes += _statefulset_strategy(spec.update_strategy or StatefulSetUpdateStrategy())
    causes += _retention(spec)
    causes += formats.at_least("spec.replicas", spec.replicas, 0)
    causes += formats.at_least("spec.minReadySeconds", spec.min_ready_seconds, 0)
    causes += formats.at_least("spec.revisionHistoryLimit", spec.revision_history_limit, 0)
    if spec.ordinals:
        causes += formats.at_least("spec.ordinals.start", spec.ordinals.start, 0)
    if spec.service_name and (why := dns_1035(spec.service_name)):
        causes.append(field.invalid("spec.serviceName", spec.service_name, why))
    causes += validate_selects(spec.selector, spec.template, "statefulset")
    return causes + _endless_template(_with_claims(spec), "StatefulSet")


def _with_claims(spec: StatefulSetSpec) -> PodTemplateSpec:
    """The template as its pods will be: a claim of a name is a volume of that name."""
    claims = tuple(Volume(name=claim.metadata.name) for claim in spec.volume_claim_templates)
    names = {volume.name for volume in claims}
    pod = spec.template.spec
    kept = tuple(volume for volume in pod.volumes if volume.name not in names)
    return replace(spec.template, spec=replace(pod, volumes=kept + claims))


def _pod_management(policy: str) -> Causes:
    if policy in ("OrderedReady", "Parallel"):
        return []
    if not policy:
        return [field.required("spec.podManagementPolicy")]
    text = "must be 'OrderedReady' or 'Parallel'"
    return [field.invalid("spec.podManagementPolicy", policy, text)]


def _statefulset_strategy(strategy: StatefulSetUpdateStrategy) -> Causes:
    path, rolling = "spec.updateStrategy", strategy.rolling_update
    match strategy.type:
        case "":
            return [field.required(path)]
        case "OnDelete" if rolling is not None:
            shown = {"partition": rolling.partition}
            text = "only allowed for updateStrategy 'RollingUpdate'"
            return [field.invalid(f"{path}.rollingUpdate", shown, text)]
        case "RollingUpdate" if rolling is not None:
            here = f"{path}.rollingUpdate"
            causes = formats.at_least(f"{here}.partition", rolling.partition, 0)
            causes += validate_amount(f"{here}.maxUnavailable", rolling.max_unavailable)
            return causes + validate_share(f"{here}.maxUnavailable", rolling.max_unavailable)
        case "OnDelete" | "RollingUpdate":
            return []
    text = "must be 'RollingUpdate' or 'OnDelete'"
    return [field.invalid(path, {"type": strategy.type}, text)]


def _retention(spec: StatefulSetSpec) -> Causes:
    policy = spec.persistent_volume_claim_retention_policy
    if policy is None:
        return []
    path = "spec.persistentVolumeClaimRetentionPolicy"
    return [
        field.not_supported(f"{path}.{name}", value, _RETENTION)
        for name, value in (
            ("whenDeleted", policy.when_deleted),
            ("whenScaled", policy.when_scaled),
        )
        if value not in _RETENTION
    ]


def validate_statefulset_update(new: StatefulSet, old: StatefulSet) -> Causes:
    allowed = replace(
        new.spec,
        replicas=old.spec.replicas,
        ordinals=old.spec.ordinals,
        template=old.spec.template,
        update_strategy=old.spec.update_strategy,
        revision_history_limit=old.spec.revision_history_limit,
        persistent_volume_claim_retention_policy=old.spec.persistent_volume_claim_retention_policy,
        min_ready_seconds=old.spec.min_ready_seconds,
    )
    return [] if allowed == old.spec else [field.forbidden("spec", _STATEFUL_SET_UPDATE)]
