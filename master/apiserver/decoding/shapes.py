"""What the fields of each API type need when an object comes in: compiled once per type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from kube.api.base import Quantity
from master.apiserver.decoding.times import Kind

StructType = type[msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Field:
    """One JSON field: the struct in it (or in its list), and what else it holds."""

    attribute: str
    struct: StructType | None = None
    time: Kind | None = None
    quantities: bool = False


@cache
def fields_of(type_: StructType) -> dict[str, Field]:
    """JSON name to field."""
    hints = get_type_hints(type_, include_extras=True)
    return {
        f.encode_name: Field(
            f.name, _struct_in(hints[f.name]), _time_in(hints[f.name]), _quantities(hints[f.name])
        )
        for f in msgspec.structs.fields(type_)
    }


def _struct_in(hint: Any) -> StructType | None:
    """The struct in `X`, `X | None`, `tuple[X, ...]`; no map of the API holds structs."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    if get_origin(hint) in (Union, UnionType, tuple):
        for part in get_args(hint):
            if part is not Ellipsis and (found := _struct_in(part)):
                return found
    return None


def _time_in(hint: Any) -> Kind | None:
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, msgspec.Meta) and extra.extra and "time" in extra.extra:
                kind: Kind = extra.extra["time"]
                return kind
    return None


def _quantities(hint: Any) -> bool:
    return bool(get_origin(hint) is dict and get_args(hint)[1] == Quantity)


@dataclass(frozen=True, slots=True)
class TimePlan:
    """Where a type has times: in its own fields, and below which of them."""

    own: tuple[tuple[str, Kind], ...]
    below: tuple[tuple[str, StructType], ...]

    def __bool__(self) -> bool:
        return bool(self.own or self.below)


@cache
def time_plan(type_: StructType) -> TimePlan:
    fields = fields_of(type_).values()
    return TimePlan(
        tuple((f.attribute, f.time) for f in fields if f.time),
        tuple((f.attribute, f.struct) for f in fields if f.struct and time_plan(f.struct)),
    )
