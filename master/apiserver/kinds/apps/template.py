"""What the kinds that make pods from a template share. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from kube.api.core import PodTemplateSpec
from master.apiserver.kinds.core.podspec import default_pod_spec


def default_template(template: PodTemplateSpec) -> PodTemplateSpec:
    return replace(template, spec=default_pod_spec(template.spec))


def value_or(value: int | None, default: int) -> int:
    return default if value is None else value
