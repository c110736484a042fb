"""What ConfigMaps and Secrets share: keys, base64 and the size of their data. Pure."""

from __future__ import annotations

import base64
import binascii
from itertools import islice

from kube.machinery.errors import MAX_CAUSES
from master.apiserver.kinds.kind import Causes
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.sources import config_key_problem

MAX_DATA_BYTES = 1024 * 1024
IMMUTABLE_TEXT = "field is immutable when `immutable` is set"


def validate_keys(data: dict[str, str], path: str) -> Causes:
    wrong = (
        field.invalid(f"{path}[{key}]", key, why)
        for key in data
        if (why := config_key_problem(key))
    )
    return list(islice(wrong, MAX_CAUSES + 1))  # no more are told


def validate_base64(data: dict[str, str], path: str) -> Causes:
    causes: Causes = []
    for key, value in data.items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            causes.append(field.invalid(f"{path}[{key}]", "<omitted>", "illegal base64 data"))
    return causes


def validate_size(*maps: dict[str, str]) -> Causes:
    total = sum(len(value) for values in maps for value in values.values())
    return [field.too_long("", MAX_DATA_BYTES)] if total > MAX_DATA_BYTES else []
