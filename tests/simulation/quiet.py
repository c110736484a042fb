"""Sound skipping of quiet time.

The cluster is deterministic. If its whole state at one moment (every field of every core and disk,
everything on its way with the time that it still takes, the state of every random generator) is
what it was one period before, and nobody outside interferes until some later moment, then it is
the same again after every further period until then. So those periods need not be stepped.
`test_quiet_time.py` compares whole histories with and without skipping.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

_PLAIN = (int, str, bytes, float, bool, type(None), frozenset)


_known: dict[type[Any], bool] = {}  # whether values of it never change


def _is_plain(kind: type[Any]) -> bool:
    plain = _known.get(kind)
    if plain is None:
        if issubclass(kind, msgspec.Struct):
            plain = bool(kind.__struct_config__.frozen)
        else:
            plain = kind in _PLAIN or issubclass(kind, enum.Enum)
        _known[kind] = plain
    return plain


def picture(value: object) -> object:
    """All of a value, as something that can be compared and does not change any more.

    It finds the fields by itself, so a new one cannot be forgotten; what it does not know how to
    look into is a TypeError.
    """
    kind: type[Any] = type(value)
    if _is_plain(kind):
        return value
    if isinstance(value, list | tuple | deque):
        return tuple([item if _is_plain(type(item)) else picture(item) for item in value])
    if isinstance(value, dict):
        return tuple([(key, picture(item)) for key, item in value.items()])
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, random.Random):
        return value.getstate()
    if is_dataclass(value):
        return tuple([picture(getattr(value, field.name)) for field in fields(value)])
    if hasattr(value, "__dict__") and kind.__module__.startswith("master.kvstore.raft"):
        return tuple([(name, picture(item)) for name, item in vars(value).items()])
    raise TypeError(f"a {kind.__name__} cannot be compared with what it was")
