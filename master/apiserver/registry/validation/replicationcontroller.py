"""Validation of ReplicationControllers (pkg/apis/core/validation). Pure."""

from __future__ import annotations

from kube.api.core import PodTemplateSpec, ReplicationController
from kube.api.meta import LabelSelector, StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import validate_labels
from master.apiserver.registry.validation.template import (
    validate_endless,
    validate_matches,
    validate_template,
)


def validate_replicationcontroller(obj: ReplicationController) -> list[StatusCause]:
    spec = obj.spec
    causes = formats.at_least("spec.minReadySeconds", spec.min_ready_seconds, 0)
    causes += validate_labels(spec.selector, "spec.selector")
    if not spec.selector:
        causes.append(field.required("spec.selector"))
    causes += formats.at_least("spec.replicas", spec.replicas, 0)
    if spec.template == PodTemplateSpec():
        causes.append(field.required("spec.template"))
        return causes
    labels = spec.template.metadata.labels
    causes += validate_matches(LabelSelector(match_labels=spec.selector), labels)
    causes += validate_template(spec.template, "spec.template")
    return causes + validate_endless(spec.template, "spec.template", "ReplicationController")
