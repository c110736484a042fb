"""What the kinds that make pods from a template share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from kube.api.core import PodTemplateSpec
from master.apiserver.kinds.core.podspec import default_pod_spec
from master.apiserver.kinds.kind import Causes
from master.apiserver.registry.validation.template import unchanged


def default_template(template: PodTemplateSpec) -> PodTemplateSpec:
    return replace(template, spec=default_pod_spec(template.spec))


def value_or(value: int | None, default: int) -> int:
    return default if value is None else value


def selector_stays(new: Any, old: Any) -> Causes:
    """`spec.selector` is fixed at creation."""
    return unchanged("spec.selector", new.spec.selector, old.spec.selector)


def fresh_status(status: Callable[[], Any]) -> Callable[[Any], Any]:
    """On creation the status is what the system says: nothing yet."""
    return lambda obj: replace(obj, status=status())
