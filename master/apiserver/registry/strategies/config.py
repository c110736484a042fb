"""ConfigMaps, Secrets, ServiceAccounts."""

from __future__ import annotations

import base64
import binascii
from itertools import islice

from msgspec.structs import replace

from kube.api.core import ConfigMap, Secret, ServiceAccount
from kube.machinery.errors import MAX_CAUSES
from master.apiserver.registry.strategy import Causes, Strategy
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.sources import config_key_problem

MAX_DATA_BYTES = 1024 * 1024
_IMMUTABLE_TEXT = "field is immutable when `immutable` is set"


def _keys(data: dict[str, str], path: str) -> Causes:
    wrong = (
        field.invalid(f"{path}[{key}]", key, why)
        for key in data
        if (why := config_key_problem(key))
    )
    return list(islice(wrong, MAX_CAUSES + 1))  # no more are told


def _base64(data: dict[str, str], path: str) -> Causes:
    causes: Causes = []
    for key, value in data.items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            causes.append(field.invalid(f"{path}[{key}]", "<omitted>", "illegal base64 data"))
    return causes


def _size(*maps: dict[str, str]) -> Causes:
    total = sum(len(value) for values in maps for value in values.values())
    return [field.too_long("", MAX_DATA_BYTES)] if total > MAX_DATA_BYTES else []


class ConfigMapStrategy(Strategy[ConfigMap]):
    def validate(self, obj: ConfigMap) -> Causes:
        causes = _keys(obj.data, "data") + _keys(obj.binary_data, "binaryData")
        causes += _base64(obj.binary_data, "binaryData")
        for key in obj.data.keys() & obj.binary_data.keys():
            causes.append(
                field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
            )
        return causes + _size(obj.data, obj.binary_data)

    def validate_update(self, new: ConfigMap, old: ConfigMap) -> Causes:
        if not old.immutable:
            return []
        causes: Causes = []
        if not new.immutable:
            causes.append(field.forbidden("immutable", _IMMUTABLE_TEXT))
        if new.data != old.data:
            causes.append(field.forbidden("data", _IMMUTABLE_TEXT))
        if new.binary_data != old.binary_data:
            causes.append(field.forbidden("binaryData", _IMMUTABLE_TEXT))
        return causes


class SecretStrategy(Strategy[Secret]):
    def default(self, obj: Secret) -> Secret:
        """stringData is a write-only way to give data in clear."""
        given = {k: base64.b64encode(v.encode()).decode() for k, v in obj.string_data.items()}
        return replace(obj, data={**obj.data, **given}, string_data={}, type=obj.type or "Opaque")

    def validate(self, obj: Secret) -> Causes:
        return _keys(obj.data, "data") + _base64(obj.data, "data") + _size(obj.data)

    def validate_update(self, new: Secret, old: Secret) -> Causes:
        causes: Causes = []
        if new.type != old.type:
            causes.append(field.invalid("type", new.type, "field is immutable"))
        if old.immutable and not new.immutable:
            causes.append(field.forbidden("immutable", _IMMUTABLE_TEXT))
        if old.immutable and new.data != old.data:
            causes.append(field.forbidden("data", _IMMUTABLE_TEXT))
        return causes


class ServiceAccountStrategy(Strategy[ServiceAccount]):
    pass
