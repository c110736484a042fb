"""Is a history of single-key operations linearizable? Wing, Gong and Lowe's search, key by key.

Linearizability is local (Herlihy and Wing): a history is linearizable if each key's part is.
It looks at values only, so it does not trust the revisions that `order.py` builds on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tests.robustness.history import Op

PENDING = math.inf  # nobody knows whether it happened, or when
ANY: Final = "\0any"  # it happens whatever the key holds
KEEP: Final = "\0keep"  # it leaves the key as it is
_MAX_STATES = 300_000


class Undecided(Exception):
    """The search would take too long: the history says neither yes nor no."""


@dataclass(frozen=True, slots=True)
class Operation:
    """It finds the key as `expects` and leaves it as `becomes`. None: there is no such key."""

    key: str
    expects: str | None
    becomes: str | None
    call: float
    end: float


def violations(history: Iterable[Operation]) -> list[str]:
    """The keys whose operations no order explains."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    return sorted(key for key, operations in by_key.items() if not explainable(operations))


def explainable(operations: list[Operation]) -> bool:
    """Whether some order, consistent with real time, gives every operation what it expects."""
    ordered = sorted(_without_the_unseen(operations), key=lambda operation: operation.call)
    must = sum(1 << i for i, operation in enumerate(ordered) if operation.end != PENDING)
    seen: set[tuple[int, str | None]] = set()
    stack: list[tuple[int, str | None]] = [(0, None)]
    while stack:
        state = stack.pop()
        if state in seen:
            continue
        seen.add(state)
        if len(seen) > _MAX_STATES:
            raise Undecided(f"{len(ordered)} operations on {ordered[0].key}")
        done, value = state
        if done & must == must:
            return True
        stack += _next(ordered, done, value)
    return False


def _without_the_unseen(operations: list[Operation]) -> list[Operation]:
    """An unanswered write whose value nobody met may as well not have happened."""
    met = {operation.expects for operation in operations} | {None}
    return [o for o in operations if o.end != PENDING or o.becomes in met]


def _next(ordered: list[Operation], done: int, value: str | None) -> list[tuple[int, str | None]]:
    """Every operation that may come next: called before any of the others had ended."""
    found = []
    horizon = PENDING
    number = (~done & (done + 1)).bit_length() - 1  # the first that is not done
    while number < len(ordered):
        operation = ordered[number]
        if operation.call > horizon:
            break
        if not done >> number & 1:
            horizon = min(horizon, operation.end)
            if operation.expects in (ANY, value):
                if operation.becomes == KEEP:
                    # A read that fits now changes nothing: taking it first loses no order.
                    return [(done | 1 << number, value)]
                found.append((done | 1 << number, operation.becomes))
        number += 1
    return found


def operations_of(ops: Iterable[Op]) -> list[Operation]:
    """What each request says of each key by itself."""
    return [operation for op in ops for operation in _projected(op)]


def _projected(op: Op) -> list[Operation]:
    if op.kind not in ("get", "put", "delete", "txn") or op.refused:
        return []
    end = PENDING if op.end is None else op.end
    if op.end is None or (op.writes and op.succeeded):
        expects = {compare.key: compare.value for compare in op.compares}
        becomes = {write.key: write.value for write in op.writes}
        if op.end is None and not becomes:
            return []
        singly = [key for key in op.reads if key not in becomes and not key.endswith("*")]
        found = {key: _found(op, key) for key in singly if op.end is not None}
        return [
            Operation(
                key, expects.get(key, found.get(key, ANY)), becomes.get(key, KEEP), op.call, end
            )
            for key in sorted({*expects, *becomes, *found})
        ]
    return [
        Operation(key, _found(op, key), KEEP, op.call, end)
        for key in op.reads
        if not key.endswith("*")
    ]


def _found(op: Op, key: str) -> str | None:
    return next((found.value for found in op.found if found.key == key), None)
