"""Validation of LabelSelectors (apimachinery's ValidateLabelSelector). Pure."""

from __future__ import annotations

from kube.api.meta import LabelSelector, LabelSelectorRequirement, StatusCause
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import label_value, qualified_name

Causes = list[StatusCause]
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def validate_selector(selector: LabelSelector | None, path: str) -> Causes:
    if selector is None:
        return []
    causes: Causes = []
    for key, value in selector.match_labels.items():
        for text, why in ((key, qualified_name(key)), (value, label_value(value))):
            if why:
                causes.append(field.invalid(f"{path}.matchLabels", text, why))
    for index, expression in enumerate(selector.match_expressions):
        causes += _expression(expression, f"{path}.matchExpressions[{index}]")
    return causes


def _expression(expression: LabelSelectorRequirement, path: str) -> Causes:
    causes: Causes = []
    if expression.operator not in _OPERATORS:
        text = "not a valid selector operator"
        causes.append(field.invalid(f"{path}.operator", expression.operator, text))
    if why := qualified_name(expression.key):
        causes.append(field.invalid(f"{path}.key", expression.key, why))
    needs_values = expression.operator in ("In", "NotIn")
    if needs_values and not expression.values:
        text = "must be specified when `operator` is 'In' or 'NotIn'"
        causes.append(field.required(f"{path}.values", text))
    if not needs_values and expression.values:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        causes.append(field.forbidden(f"{path}.values", text))
    for index, value in enumerate(expression.values):
        if why := label_value(value):
            causes.append(field.invalid(f"{path}.values[{index}]", value, why))
    return causes
