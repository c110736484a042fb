"""Validation of pod templates, and of how their owners select the pods. Pure.

Every kind that makes pods from a template is judged by these.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kube.api.core import PodTemplateSpec
from kube.api.meta import LabelSelector, StatusCause
from kube.machinery.selectors import from_label_selector
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import validate_annotations, validate_labels
from master.apiserver.registry.validation.pod import validate_pod_spec
from master.apiserver.registry.validation.selectors import validate_selector

Causes = list[StatusCause]
MISMATCH = "`selector` does not match template `labels`"


def validate_template(template: PodTemplateSpec, path: str) -> Causes:
    meta = template.metadata
    causes = validate_labels(meta.labels, f"{path}.metadata.labels")
    causes += validate_annotations(meta.annotations, f"{path}.metadata.annotations")
    return causes + validate_pod_spec(template.spec, f"{path}.spec")


def validate_endless(template: PodTemplateSpec, path: str, kind: str) -> Causes:
    """The pods of `kind` run for ever: they are started again, and no deadline ends them."""
    spec, causes = template.spec, Causes()
    if spec.restart_policy != "Always":
        here = f"{path}.spec.restartPolicy"
        causes.append(field.not_supported(here, spec.restart_policy, ("Always",)))
    if spec.active_deadline_seconds is not None:
        text = f"activeDeadlineSeconds in {kind} is not Supported"
        causes.append(field.forbidden(f"{path}.spec.activeDeadlineSeconds", text))
    return causes


def validate_selects(
    selector: LabelSelector | None, template: PodTemplateSpec, kind: str
) -> Causes:
    """`spec.selector` is there, selects something, and that is what `spec.template` makes."""
    if selector is None:
        return [field.required("spec.selector")]
    causes = validate_selector(selector, "spec.selector")
    if not (selector.match_labels or selector.match_expressions):
        text = f"empty selector is invalid for {kind}"
        causes.append(field.invalid("spec.selector", {}, text))
    elif not causes:
        causes += validate_matches(selector, template.metadata.labels)
    return causes


def validate_matches(selector: LabelSelector, labels: dict[str, str], path: str = "spec") -> Causes:
    parsed = from_label_selector(selector)
    if parsed is None or parsed.matches(labels):
        return []
    return [field.invalid(f"{path}.template.metadata.labels", labels, MISMATCH)]


def unchanged(path: str, new: Any, old: Any) -> Causes:
    """A field that no update may change (ValidateImmutableField)."""
    if new == old:
        return []
    return [field.invalid(path, msgspec.to_builtins(new), "field is immutable")]
