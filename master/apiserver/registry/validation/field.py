"""Field errors (apimachinery's validation/field): a path, a reason, and a message."""

from __future__ import annotations

import json
from collections.abc import Iterable

from kube.api.meta import StatusCause

# An answer does not repeat a body of megabytes.
_SHOWN = 1024
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def required(path: str, detail: str = "") -> StatusCause:
    text = "Required value" + (f": {detail}" if detail else "")
    return StatusCause(field=path, message=text, reason="FieldValueRequired")


def invalid(path: str, value: object, detail: str) -> StatusCause:
    return StatusCause(
        field=path,
        message=f"Invalid value: {_quoted(value)}: {detail}",
        reason="FieldValueInvalid",
    )


def not_supported(path: str, value: object, supported: Iterable[str]) -> StatusCause:
    listed = ", ".join(f'"{choice}"' for choice in supported)
    return StatusCause(
        field=path,
        message=f"Unsupported value: {_quoted(value)}: supported values: {listed}",
        reason="FieldValueNotSupported",
    )


def duplicate(path: str, value: object) -> StatusCause:
    return StatusCause(
        field=path,
        message=f"Duplicate value: {_quoted(value)}",
        reason="FieldValueDuplicate",
    )


def forbidden(path: str, detail: str) -> StatusCause:
    return StatusCause(field=path, message=f"Forbidden: {detail}", reason="FieldValueForbidden")


def not_found(path: str, value: object) -> StatusCause:
    return StatusCause(
        field=path, message=f"Not found: {_quoted(value)}", reason="FieldValueNotFound"
    )


def too_long(path: str, limit: int) -> StatusCause:
    return StatusCause(
        field=path,
        message=f"Too long: may not be more than {limit} bytes",
        reason="FieldValueTooLong",
    )


def too_many(path: str, count: int, limit: int) -> StatusCause:
    return StatusCause(
        field=path,
        message=f"Too many: {count}: must have at most {limit} items",
        reason="FieldValueTooMany",
    )


def _quoted(value: object) -> str:
    text = _encode(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
