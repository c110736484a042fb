"""Objects to metav1.Table and PartialObjectMetadata JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from master.apiserver.rest.tables.columns import Column, printer_for
from muster.api import scheme
from muster.api.scheme import Resource


@dataclass(frozen=True, slots=True)
class TableOptions:
    version: str = "v1"
    include_object: str = "Metadata"  # Metadata, Object or None


class _MetaOnly(msgspec.Struct):
    metadata: msgspec.Raw


_meta_only = msgspec.json.Decoder(_MetaOnly)


def render_object(resource: Resource, data: bytes, version: str) -> bytes:
    """Only the object's metadata."""
    meta = _meta_only.decode(data).metadata
    head = {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
    }
    return msgspec.json.encode(head)


def render_table(
    resource: Resource,
    items: Sequence[bytes],
    options: TableOptions,
    meta: dict[str, Any],
    *,
    with_columns: bool = True,
) -> bytes:
    printer = printer_for(resource.kind)
    now = datetime.now(UTC)
    rows = []
    for data in items:
        obj = scheme.decode(resource.type, data)
        row: dict[str, Any] = {"cells": printer.cells(obj, now)}
        if options.include_object == "Object":
            row["object"] = msgspec.Raw(data)
        elif options.include_object == "Metadata":
            row["object"] = msgspec.Raw(render_object(resource, data, options.version))
        rows.append(row)
    return msgspec.json.encode(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{options.version}",
            "metadata": meta,
            "columnDefinitions": [_definition(c) for c in printer.columns] if with_columns else [],
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
