"""An OpenAPI v3 schema as a definition has it, to the schema object that everything asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from kube.api.meta import ObjectMeta
from kube.machinery.schema import OPEN, Field, Format, ListType, Schema, schema_of

Props = Mapping[str, Any]
INT_OR_STRING = "x-kubernetes-int-or-string"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
LIST_TYPE, LIST_KEYS = "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"
_SCALARS: dict[str, Format] = {"string": "string", "boolean": "bool", "number": "double"}
_TEXT = Schema("scalar", format="string")


def structure_of(props: Props) -> Schema:
    """Which fields there are, which are kept although they are not named, how lists merge."""
    made = _structure_of(props)
    if made is OPEN:
        return made
    made.nullable = bool(props.get("nullable"))
    made.atomic = props.get(MAP_TYPE) == "atomic"
    return made


def _structure_of(props: Props) -> Schema:
    if props.get(INT_OR_STRING):
        return Schema("scalar", format="intstr")
    match props.get("type", ""):
        case "object":
            return _object(props)
        case "array":
            items = props.get("items")
            return Schema(
                "list",
                items=structure_of(items) if isinstance(items, dict) else OPEN,
                list_type=cast(ListType, props.get(LIST_TYPE, "")),
                keys=tuple(props.get(LIST_KEYS, ())),
            )
        case "integer":
            return Schema("scalar", format="int32" if props.get("format") == "int32" else "int64")
        case "":
            return OPEN
        case scalar:
            return Schema("scalar", format=_SCALARS.get(scalar, ""))


def _object(props: Props) -> Schema:
    below = props.get("additionalProperties")
    if below is not None and below is not False and not props.get("properties"):
        items = structure_of(below) if isinstance(below, dict) else OPEN
        return Schema("map", items=items)
    required = props.get("required", ())
    fields = {
        name: field_of(name, structure_of(known), name in required)
        for name, known in props.get("properties", {}).items()
    }
    if props.get(EMBEDDED):
        fields |= {name: field_of(name, _TEXT) for name in ("apiVersion", "kind")}
        fields["metadata"] = field_of("metadata", schema_of(ObjectMeta))
    return Schema("struct", preserves=bool(props.get(PRESERVE)), _fields=fields)


def field_of(name: str, schema: Schema, required: bool = False) -> Field:
    return Field(name, name, schema, None, required, holds_structs=schema.kind != "scalar")
