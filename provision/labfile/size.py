"""Sizes (`2Gi`) as whole mebibytes."""

from __future__ import annotations

_MIB = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}


def mebibytes(size: str) -> int:
    """`2Gi` -> 2048. The text has passed the lab file's pattern."""
    return int(size[:-2]) * _MIB[size[-2:]]
