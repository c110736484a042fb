"""Validation of managedFields (apimachinery's ValidateManagedFields, and their sets). Pure.

An entry that cannot be read would make every later apply of the object fail.
"""

from __future__ import annotations

from collections.abc import Sequence

from kube.api.meta import ManagedFieldsEntry, StatusCause
from master.apiserver.patch.fieldset import NoFieldSet, check_fields_v1
from master.apiserver.registry.validation import field

MAX_MANAGER, MAX_SUBRESOURCE = 128, 256


def validate_managed_fields(entries: Sequence[ManagedFieldsEntry]) -> list[StatusCause]:
    causes: list[StatusCause] = []
    for index, entry in enumerate(entries):
        path = f"metadata.managedFields[{index}]"
        if entry.operation not in ("Apply", "Update"):
            text = "must be `Apply` or `Update`"
            causes.append(field.invalid(f"{path}.operation", entry.operation, text))
        if entry.fields_type not in ("", "FieldsV1"):
            text = "must be `FieldsV1`"
            causes.append(field.invalid(f"{path}.fieldsType", entry.fields_type, text))
        causes += validate_manager(entry.manager, f"{path}.manager")
        if len(entry.subresource) > MAX_SUBRESOURCE:
            causes.append(field.too_long(f"{path}.subresource", MAX_SUBRESOURCE))
        try:
            check_fields_v1(entry.fields_v1 or {})
        except NoFieldSet as error:
            causes.append(field.invalid(f"{path}.fieldsV1", "", str(error)))
    return causes


def validate_manager(manager: str, path: str) -> list[StatusCause]:
    if len(manager.encode()) > MAX_MANAGER:
        return [field.too_long(path, MAX_MANAGER)]
    if not manager.isprintable():
        return [field.invalid(path, manager, "should only contain printable characters")]
    return []
