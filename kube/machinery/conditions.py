"""Conditions of any kind of object: find one, set one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from kube.machinery.times import format_time


class Condition(Protocol):
    """What all condition types have (metav1.Condition and its elder relations)."""

    @property
    def type(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def last_transition_time(self) -> str: ...


C = TypeVar("C", bound=Condition)


def find(conditions: Iterable[C], type_: str) -> C | None:
    return next((c for c in conditions if c.type == type_), None)


def status_of(conditions: Iterable[Condition], type_: str) -> str:
    """ "True", "False" or "Unknown"; "" where there is no such condition."""
    found = find(conditions, type_)
    return found.status if found is not None else ""


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    return status_of(conditions, type_) == "True"


def without(conditions: Iterable[C], type_: str) -> tuple[C, ...]:
    return tuple(c for c in conditions if c.type != type_)


def put(conditions: tuple[C, ...], new: C, now: datetime) -> tuple[C, ...]:
    """`new` in place of its type; the transition time moves only with the status."""
    old = find(conditions, new.type)
    kept = old is not None and old.status == new.status
    stamp = old.last_transition_time if old is not None and kept else format_time(now)
    stamped: C = msgspec.structs.replace(new, last_transition_time=stamp)  # type: ignore[type-var]  # C is one of several structs
    return (*without(conditions, new.type), stamped)
