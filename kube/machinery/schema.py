"""What is known about a type of the API: one object that everything asks.

For a built-in type the answers come from its struct (names, types) and from the published facts
(`kube.api.facts`: keys of lists, what is atomic, what is required). Patch, apply, pruning, OpenAPI
and protobuf ask nothing else, so a schema that is made of other material serves them as well.
Pure; made once for each type, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from kube.api import facts
from kube.api.base import Int32, Int64, Quantity

StructType = type[msgspec.Struct]
# "open": nothing is known, anything may be below.
Kind = Literal["struct", "map", "list", "scalar", "open"]
Format = Literal["", "string", "bool", "int32", "int64", "double", "intstr",
                 "quantity", "Time", "MicroTime"]  # fmt: skip
ListType = Literal["", "atomic", "set", "map"]
_FORMATS: dict[Any, Format] = {str: "string", bool: "bool", float: "double", int: "int64"}
# What is not stored as it comes in.
_CONVERTED: tuple[Format, ...] = ("quantity", "Time", "MicroTime")


@dataclass(slots=True, eq=False)
class Schema:
    """One type of value."""

    kind: Kind = "open"
    type: StructType | None = None  # of a struct
    format: Format = ""  # of a scalar
    items: Schema | None = None  # a list's elements, a map's values
    list_type: ListType = ""
    keys: tuple[str, ...] = ()  # all fields that together name an element of a list
    atomic: bool = False  # replaced and owned as a whole
    # Whether a scalar is stored in another form than clients may send it in.
    converted: bool = False
    # Of a struct: fields that it does not name may be there too.
    preserves: bool = False
    # null is a value of it, not the absence of one.
    nullable: bool = False
    _fields: Mapping[str, Field] | None = field(default=None, repr=False)

    @property
    def fields(self) -> Mapping[str, Field]:
        """A struct's fields by their JSON names; none of anything else."""
        if self._fields is None:
            self._fields = _fields_of(self.type) if self.type else {}
        return self._fields

    def field(self, name: str) -> Schema:
        """The value under a name: a struct's field, any key of a map."""
        known = self.fields.get(name)
        if known is not None:
            return known.schema
        return self.items if self.kind == "map" and self.items else OPEN

    @property
    def elements(self) -> Schema:
        return self.items if self.kind == "list" and self.items else OPEN

    def has(self, name: str) -> bool:
        """Whether there may be such a field."""
        return self.kind in ("open", "map") or self.preserves or name in self.fields


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct: its value's schema, and what is said about the field itself."""

    name: str  # in JSON
    attribute: str  # of the struct
    schema: Schema
    hint: Any  # the resolved type
    required: bool = False
    default: str | None = None
    # `x-kubernetes-patch-strategy`: merge, retainKeys, replace; and the one key it merges by.
    strategy: frozenset[str] = frozenset()
    merge_key: str = ""
    # Of the value, at hand for those who walk every object that comes in: whether structs are
    # below, and whether a scalar is stored in another form than clients may send it in.
    holds_structs: bool = False
    converted: bool = False

    @property
    def merges(self) -> bool:
        """Whether a strategic patch merges the list instead of replacing it."""
        return "merge" in self.strategy


OPEN = Schema()


@cache
def schema_of(type_: StructType) -> Schema:
    """The schema of an API type."""
    return Schema("struct", type_, atomic=place_of(type_) in facts.ATOMIC)


def place_of(type_: StructType) -> str:
    """`core.Pod`: how the facts name a type."""
    return f"{type_.__module__.rpartition('.')[2]}.{type_.__name__}"


def unions_of(type_: StructType) -> list[dict[str, Any]]:
    """`x-kubernetes-unions`: groups of fields of which one is set."""
    return facts.UNIONS.get(place_of(type_), [])


def _fields_of(type_: StructType) -> dict[str, Field]:
    hints = get_type_hints(type_, include_extras=True)
    place = place_of(type_)
    required = facts.REQUIRED.get(place, ())
    lists, patches = facts.LISTS.get(place, {}), facts.PATCHES.get(place, {})
    atomic, defaults = facts.ATOMIC_FIELDS.get(place, ()), facts.DEFAULTS.get(place, {})
    made = {}
    for known in msgspec.structs.fields(type_):
        name = known.encode_name
        schema = _schema_for(hints[known.name])
        if name in lists:
            list_type, *keys = lists[name]
            schema = replace(schema, list_type=cast(ListType, list_type), keys=tuple(keys))
        if name in atomic:
            schema = replace(schema, atomic=True)
        strategy, merge_key = patches.get(name, ("", ""))
        made[name] = Field(
            name,
            known.name,
            schema,
            hints[known.name],
            name in required,
            defaults.get(name),
            frozenset(strategy.split(",")) if strategy else frozenset(),
            merge_key,
            _innermost(schema).type is not None,
            schema.converted,
        )
    return made


def bare(hint: Any) -> Any:
    """`X` of `X | None`; a quantity and an int-or-string stay what they are."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007 - made at run time


def _schema_for(hint: Any) -> Schema:
    """The schema that a type hint describes."""
    hint = bare(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return schema_of(hint)
    if get_origin(hint) is tuple:
        return Schema("list", items=_schema_for(get_args(hint)[0]))
    if get_origin(hint) is dict:
        items = _schema_for(get_args(hint)[1])
        return OPEN if items is OPEN else Schema("map", items=items)
    found = _format_of(hint)
    return Schema("scalar", format=found, converted=found in _CONVERTED) if found else OPEN


def _format_of(hint: Any) -> Format:
    if hint == Int32:
        return "int32"
    if hint == Int64:
        return "int64"
    if hint == Quantity:
        return "quantity"
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, msgspec.Meta) and extra.extra and "time" in extra.extra:
                found: Format = extra.extra["time"]
                return found
    if get_origin(hint) in (Union, UnionType) and str in get_args(hint):
        return "intstr"
    return _FORMATS.get(hint, "") if isinstance(hint, type) else ""


@dataclass(frozen=True, slots=True)
class TimePlan:
    """Where a type has times: in its own fields, and below which of them."""

    own: tuple[tuple[str, Literal["Time", "MicroTime"]], ...]
    below: tuple[tuple[str, StructType], ...]


@cache
def time_plan(type_: StructType) -> TimePlan:
    own: list[tuple[str, Literal["Time", "MicroTime"]]] = []
    below = []
    for known in schema_of(type_).fields.values():
        inner = _innermost(known.schema)
        if inner.format == "Time" or inner.format == "MicroTime":
            own.append((known.attribute, inner.format))
        elif inner.type is not None and _holds_times(inner.type):
            below.append((known.attribute, inner.type))
    return TimePlan(tuple(own), tuple(below))


def _innermost(schema: Schema) -> Schema:
    while schema.items is not None:
        schema = schema.items
    return schema


@cache
def _holds_times(type_: StructType) -> bool:
    """Whether a time is anywhere below; types may hold themselves."""
    seen: set[StructType] = set()
    todo = [type_]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for known in schema_of(current).fields.values():
            inner = _innermost(known.schema)
            if inner.format in ("Time", "MicroTime"):
                return True
            if inner.type is not None:
                todo.append(inner.type)
    return False
