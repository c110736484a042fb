"""Is a history of reads and writes linearizable? Wing, Gong and Lowe's search, key by key.

Linearizability is local (Herlihy and Wing): a history is linearizable if each key's part is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

PENDING = math.inf  # nobody knows whether it happened, or when


@dataclass(frozen=True, slots=True)
class Operation:
    """`value` is what was written or what was read; None: there was nothing."""

    key: str
    write: bool
    value: str | None
    call: float
    end: float


def violations(history: Iterable[Operation]) -> list[str]:
    """The keys whose operations no order explains."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    return sorted(key for key, operations in by_key.items() if not explainable(operations))


def explainable(operations: list[Operation]) -> bool:
    """Whether some order, consistent with real time, gives every read the last write's value."""
    ordered = sorted(operations, key=lambda operation: operation.call)
    must = sum(1 << i for i, operation in enumerate(ordered) if operation.end != PENDING)
    seen: set[tuple[int, str | None]] = set()
    stack: list[tuple[int, str | None]] = [(0, None)]
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        done, value = state
        if done & must == must:
            return True
        stack += _next(ordered, done, value)
    return False


def _next(ordered: list[Operation], done: int, value: str | None) -> list[tuple[int, str | None]]:
    """Every operation that may come next: called before any of the others had ended."""
    found = []
    horizon = PENDING
    for number, operation in enumerate(ordered):
        if done >> number & 1:
            continue
        if operation.call > horizon:
            break
        horizon = min(horizon, operation.end)
        if operation.write:
            found.append((done | 1 << number, operation.value))
        elif operation.value == value:
            # A read that fits now changes nothing: taking it first loses no order.
            return [(done | 1 << number, value)]
    return found
