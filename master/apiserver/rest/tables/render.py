"""Objects to metav1.Table and PartialObjectMetadata JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from master.apiserver.kinds.columns import Column
from master.apiserver.kinds.kind import AnyKind


@dataclass(frozen=True, slots=True)
class TableOptions:
    version: str = "v1"
    include_object: str = "Metadata"  # Metadata, Object or None


class _MetaOnly(msgspec.Struct):
    metadata: msgspec.Raw


# Rows in one piece.
_PIECE = 100
_meta_only = msgspec.json.Decoder(_MetaOnly)


def render_object(data: bytes, version: str) -> bytes:
    """Only the object's metadata."""
    meta = _meta_only.decode(data).metadata
    head = {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
    }
    return msgspec.json.encode(head)


def render_table(
    kind: AnyKind,
    items: Sequence[bytes],
    options: TableOptions,
    meta: dict[str, Any],
    *,
    with_columns: bool = True,
) -> bytes:
    rows = [_row(kind, data, options, datetime.now(UTC)) for data in items]
    return _table(kind, rows, options, meta, with_columns=with_columns)


async def render_list(
    kind: AnyKind, items: Sequence[bytes], options: TableOptions, meta: dict[str, Any]
) -> bytes:
    """`render_table` of as many as there are; others are served in between."""
    rows, now = [], datetime.now(UTC)
    for number, data in enumerate(items, 1):
        rows.append(_row(kind, data, options, now))
        if number % _PIECE == 0:
            await asyncio.sleep(0)
    return _table(kind, rows, options, meta, with_columns=True)


def _row(kind: AnyKind, data: bytes, options: TableOptions, now: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": kind.cells(kind.codec.decode(data), now)}
    if options.include_object == "Object":
        row["object"] = msgspec.Raw(data)
    elif options.include_object == "Metadata":
        row["object"] = msgspec.Raw(render_object(data, options.version))
    return row


def _table(
    kind: AnyKind,
    rows: list[dict[str, Any]],
    options: TableOptions,
    meta: dict[str, Any],
    *,
    with_columns: bool,
) -> bytes:
    columns = kind.columns if with_columns else ()
    return msgspec.json.encode(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{options.version}",
            "metadata": meta,
            "columnDefinitions": [_definition(c) for c in columns],
            "rows": rows,
        }
    )


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }
