"""Validation of LimitRanges and ResourceQuotas (pkg/apis/core/validation). Pure."""

from __future__ import annotations

from kube.api.base import Quantity
from kube.api.core import LimitRange, LimitRangeItem, ResourceQuota, ResourceQuotaSpec
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import qualified_name
from master.apiserver.registry.validation.quantities import (
    CONTAINER,
    COUNTED,
    STORAGE,
    exceeds,
    is_huge,
    parsed,
    validate_amount_of,
    validate_resource_name,
)
from master.apiserver.registry.validation.template import unchanged

Causes = list[StatusCause]
Amounts = dict[str, Quantity]
POD, CLAIM = "Pod", "PersistentVolumeClaim"
_LIMIT_TYPES = (POD, "Container", CLAIM)
_LIMITED = (*CONTAINER, STORAGE)
_SIDED = tuple(f"{side}.{name}" for side in ("requests", "limits") for name in CONTAINER)
_QUOTA = (
    *CONTAINER, STORAGE, *COUNTED,
    *_SIDED,
    "requests.storage",
)  # fmt: skip
BEST_EFFORT, NOT_BEST_EFFORT = "BestEffort", "NotBestEffort"
TERMINATING, NOT_TERMINATING = "Terminating", "NotTerminating"
_SCOPES = (
    BEST_EFFORT, "CrossNamespacePodAffinity", NOT_BEST_EFFORT, NOT_TERMINATING, "PriorityClass",
    TERMINATING, "VolumeAttributesClass",
)  # fmt: skip
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")
_OF_PODS = frozenset(("pods", *CONTAINER, *_SIDED))


def validate_limit_range(obj: LimitRange) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for index, item in enumerate(obj.spec.limits):
        path = f"spec.limits[{index}]"
        causes += _limit_type(item.type, f"{path}.type")
        if item.type in seen:
            causes.append(field.duplicate(f"{path}.type", item.type))
        seen.add(item.type)
        causes += _limit_item(item, path)
    return causes


def _limit_type(type_: str, path: str) -> Causes:
    if why := qualified_name(type_):
        return [field.invalid(path, type_, why)]
    if "/" in type_ or type_ in _LIMIT_TYPES:
        return []
    return [field.invalid(path, type_, "must be a standard limit type or fully qualified")]


def _limit_item(item: LimitRangeItem, path: str) -> Causes:
    causes: Causes = []
    for name, amounts in (
        ("max", item.max),
        ("min", item.min),
        ("default", item.default),
        ("defaultRequest", item.default_request),
        ("maxLimitRequestRatio", item.max_limit_request_ratio),
    ):
        if name.startswith("default") and amounts and item.type == POD:
            text = f"may not be specified when `type` is '{POD}'"
            causes.append(field.forbidden(f"{path}.{name}", text))
            continue
        for key, value in amounts.items():
            here = f"{path}.{name}[{key}]"
            causes += validate_resource_name(key, here, _LIMITED)
            causes += validate_amount_of(key, here, value)
    if item.type == CLAIM and STORAGE not in item.min and STORAGE not in item.max:
        text = "either minimum or maximum storage value is required, but neither was provided"
        causes.append(field.required(path, text))
    return causes or _limit_order(item, path)


def _limit_order(item: LimitRangeItem, path: str) -> Causes:
    """min <= defaultRequest <= default <= max, and a ratio that they allow."""
    ordered: tuple[tuple[str, str, Amounts, str, Amounts], ...] = (
        ("min", "min", item.min, "max", item.max),
        ("defaultRequest", "min", item.min, "default request", item.default_request),
        ("defaultRequest", "default request", item.default_request, "max", item.max),
        ("defaultRequest", "default request", item.default_request, "default limit", item.default),
        ("default", "min", item.min, "default", item.default),
        ("default", "default", item.default, "max", item.max),
    )
    causes: Causes = []
    for where, less_name, less, more_name, more in ordered:
        for key in less:
            if exceeds(less, more, key):
                text = (
                    f"{less_name} value {less[key]} is greater than {more_name} value {more[key]}"
                )
                shown = getattr(item, "default_request" if where == "defaultRequest" else where)
                causes.append(field.invalid(f"{path}.{where}[{key}]", str(shown[key]), text))
    for key, value in item.max_limit_request_ratio.items():
        causes += _ratio(item, key, value, f"{path}.maxLimitRequestRatio[{key}]")
    return causes


def _ratio(item: LimitRangeItem, key: str, value: Quantity, path: str) -> Causes:
    ratio = parsed(value)
    if ratio is not None and ratio < 1:
        return [field.invalid(path, str(value), f"ratio {value} is less than 1")]
    least, most = parsed(item.min.get(key, "0")), parsed(item.max.get(key, "0"))
    if ratio is not None and least and most and ratio > most / least:
        text = f"ratio {value} is greater than max/min = {most / least:f}"
        return [field.invalid(path, str(value), text)]
    return []


def validate_quota(obj: ResourceQuota) -> Causes:
    return _amounts(obj.spec.hard, "spec.hard") + _scopes(obj.spec)


def validate_quota_status(obj: ResourceQuota) -> Causes:
    return _amounts(obj.status.hard, "status.hard") + _amounts(obj.status.used, "status.used")


def validate_quota_update(new: ResourceQuota, old: ResourceQuota) -> Causes:
    causes = unchanged("spec.scopes", new.spec.scopes, old.spec.scopes)
    return causes + unchanged(
        "spec.scopeSelector", new.spec.scope_selector, old.spec.scope_selector
    )


def _amounts(amounts: Amounts, path: str) -> Causes:
    causes: Causes = []
    for name, value in amounts.items():
        here = f"{path}[{name}]"
        bare = name.removeprefix("requests.")
        if not is_huge(bare):
            causes += validate_resource_name(name, here, _QUOTA)
        causes += validate_amount_of(name, here, value)
    return causes


def _scopes(spec: ResourceQuotaSpec) -> Causes:
    causes: Causes = []
    for scope in spec.scopes:
        causes += _scope(scope, spec, "spec.scopes")
    causes += _conflicts(set(spec.scopes), list(spec.scopes), "spec.scopes")
    if spec.scope_selector is None:
        return causes
    path = "spec.scopeSelector.matchExpressions"
    wanted = spec.scope_selector.match_expressions
    for index, requirement in enumerate(wanted):
        here = f"{path}[{index}]"
        causes += _scope(requirement.scope_name, spec, f"{here}.scopeName")
        causes += _requirement(
            requirement.scope_name, requirement.operator, requirement.values, here
        )
    return causes + _conflicts({w.scope_name for w in wanted}, [], path)


def _scope(scope: str, spec: ResourceQuotaSpec, path: str) -> Causes:
    if scope not in _SCOPES:
        return [field.not_supported(path, scope, _SCOPES)]
    limited = {"pods"} if scope == BEST_EFFORT else _OF_PODS
    if scope == "VolumeAttributesClass":
        limited = {"persistentvolumeclaims", "requests.storage"}
    if any(name not in limited for name in spec.hard):
        return [field.invalid(path, scope, "unsupported scope applied to resource")]
    return []


def _conflicts(scopes: set[str], shown: list[str], path: str) -> Causes:
    for pair in ({BEST_EFFORT, NOT_BEST_EFFORT}, {TERMINATING, NOT_TERMINATING}):
        if pair <= scopes:
            return [field.invalid(path, shown or sorted(scopes), "conflicting scopes")]
    return []


def _requirement(scope: str, operator: str, values: tuple[str, ...], path: str) -> Causes:
    alone = scope not in ("PriorityClass", "VolumeAttributesClass")
    if operator not in _OPERATORS:
        text = "not a valid selector operator"
        return [field.invalid(f"{path}.operator", operator, text)]
    if alone and operator != "Exists":
        text = (
            "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
            "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
            "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        return [field.invalid(f"{path}.operator", operator, text)]
    if operator in ("In", "NotIn") and not values:
        text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [field.required(f"{path}.values", text)]
    if operator in ("Exists", "DoesNotExist") and values:
        text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [field.invalid(f"{path}.values", list(values), text)]
    return []
