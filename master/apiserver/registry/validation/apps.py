"""Validation of Deployments and ReplicaSets (pkg/apis/apps/validation)."""

from __future__ import annotations

import re

import msgspec

from kube.api.apps import Deployment, ReplicaSet, RollingUpdateDeployment
from kube.api.core import PodTemplateSpec
from kube.api.meta import LabelSelector, StatusCause
from kube.machinery.selectors import from_label_selector
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import validate_annotations, validate_labels
from master.apiserver.registry.validation.pod import validate_pod_spec
from master.apiserver.registry.validation.selectors import validate_selector

_PERCENT = re.compile(r"[0-9]{1,9}%")
_MISMATCH = "`selector` does not match template `labels`"


def validate_deployment(obj: Deployment) -> list[StatusCause]:
    spec = obj.spec
    causes = _not_negative("spec.replicas", spec.replicas)
    causes += _not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    causes += _not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    causes += _not_negative("spec.progressDeadlineSeconds", spec.progress_deadline_seconds)
    if spec.progress_deadline_seconds is not None and spec.progress_deadline_seconds <= (
        spec.min_ready_seconds or 0
    ):
        causes.append(
            field.invalid(
                "spec.progressDeadlineSeconds",
                spec.progress_deadline_seconds,
                "must be greater than minReadySeconds",
            )
        )
    causes += _selector_and_template(spec.selector, spec.template)
    if spec.strategy and spec.strategy.type not in ("Recreate", "RollingUpdate"):
        causes.append(
            field.not_supported(
                "spec.strategy.type", spec.strategy.type, ("Recreate", "RollingUpdate")
            )
        )
    elif spec.strategy and spec.strategy.type == "Recreate" and spec.strategy.rolling_update:
        causes.append(
            field.forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            )
        )
    elif spec.strategy and spec.strategy.rolling_update:
        causes += _rolling_update(spec.strategy.rolling_update)
    return causes


def validate_replicaset(obj: ReplicaSet) -> list[StatusCause]:
    causes = _not_negative("spec.replicas", obj.spec.replicas)
    causes += _not_negative("spec.minReadySeconds", obj.spec.min_ready_seconds)
    return causes + _selector_and_template(obj.spec.selector, obj.spec.template)


def validate_selector_unchanged(
    new: LabelSelector | None, old: LabelSelector | None
) -> list[StatusCause]:
    if new == old:
        return []
    return [field.invalid("spec.selector", msgspec.to_builtins(new), "field is immutable")]


def _not_negative(path: str, value: int | None) -> list[StatusCause]:
    if value is None or value >= 0:
        return []
    return [field.invalid(path, value, "must be greater than or equal to 0")]


def _rolling_update(rolling: RollingUpdateDeployment) -> list[StatusCause]:
    causes = []
    amounts = []
    for name, value in (
        ("maxUnavailable", rolling.max_unavailable),
        ("maxSurge", rolling.max_surge),
    ):
        path = f"spec.strategy.rollingUpdate.{name}"
        if isinstance(value, str) and not _PERCENT.fullmatch(value):
            causes.append(
                field.invalid(
                    path,
                    value,
                    "a valid percent string must be a numeric string followed by an ending '%' "
                    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                )
            )
            continue
        number = int(str(value or 0).rstrip("%"))
        amounts.append(number)
        if isinstance(value, str) and name == "maxUnavailable" and number > 100:
            causes.append(field.invalid(path, value, "must not be greater than 100%"))
        if number < 0:
            causes.append(field.invalid(path, value, "must be greater than or equal to 0"))
    if amounts == [0, 0]:
        causes.append(
            field.invalid(
                "spec.strategy.rollingUpdate.maxUnavailable",
                rolling.max_unavailable,
                "may not be 0 when `maxSurge` is 0",
            )
        )
    return causes


def _selector_and_template(
    selector: LabelSelector | None, template: PodTemplateSpec
) -> list[StatusCause]:
    causes = validate_labels(template.metadata.labels, "spec.template.metadata.labels")
    causes += validate_annotations(
        template.metadata.annotations, "spec.template.metadata.annotations"
    )
    if selector is None:
        causes.append(field.required("spec.selector"))
    else:
        wrong = validate_selector(selector, "spec.selector")
        causes += wrong
        if not (selector.match_labels or selector.match_expressions):
            causes.append(
                field.invalid("spec.selector", {}, "empty selector is invalid for deployment")
            )
        parsed = from_label_selector(selector)
        if not wrong and parsed and not parsed.matches(template.metadata.labels):
            causes.append(
                field.invalid("spec.template.metadata.labels", template.metadata.labels, _MISMATCH)
            )
    causes += validate_pod_spec(template.spec, "spec.template.spec")
    if template.spec.restart_policy != "Always":
        causes.append(
            field.not_supported(
                "spec.template.spec.restartPolicy", template.spec.restart_policy, ("Always",)
            )
        )
    return causes
