"""Do revisions respect real time? Linearizability, judged by the store's own order.

A request that began after another had ended must not come before it. A write stands at its
revision, a read just behind the revision that its answer shows. Together with `effects.py`, which
holds every answer against the state at its revision, this is the whole of strict
serializability, multi-key transactions included, without a search.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.robustness.effects import Effects
from tests.robustness.history import Op, Run
from tests.robustness.revisions import Revisions

_LINEARIZABLE = ("get", "put", "delete", "txn")


@dataclass(frozen=True, slots=True)
class Stand:
    """Something at a place in the order. `call` None: it only tells that the place exists."""

    what: str
    place: int
    call: float | None
    end: float | None


def real_time_problems(run: Run, history: Revisions, effects: Effects) -> list[str]:
    stands = [stand for op in run.ops if (stand := _stand(op, effects)) is not None]
    stands += [
        Stand(f"event of revision {revision}", 2 * revision + 1, None, at)
        for revision, at in history.seen_at.items()
    ]
    return out_of_order(stands) + _backwards(run.ops)


def _stand(op: Op, effects: Effects) -> Stand | None:
    written = effects.revision_of.get(op.id)
    what = f"request {op.id} ({op.kind} at {op.member})"
    if written is not None:
        return Stand(what, 2 * written, op.call, op.end)
    if not op.answered or not op.revision:
        return None
    # Where a read that may be stale stands says nothing of its own time, only of what exists.
    call = op.call if op.kind in _LINEARIZABLE else None
    return Stand(what, 2 * op.revision + 1, call, op.end)


def out_of_order(stands: Iterable[Stand]) -> list[str]:
    """Everything that began after something of a later place had ended."""
    moments: list[tuple[float, int, Stand]] = []
    for stand in stands:
        if stand.call is not None:
            moments.append((stand.call, 0, stand))
        if stand.end is not None:
            moments.append((stand.end, 1, stand))
    moments.sort(key=lambda moment: moment[:2])
    problems = []
    latest: Stand | None = None
    for _, ended, stand in moments:
        if ended:
            if latest is None or stand.place > latest.place:
                latest = stand
        elif latest is not None and stand.place < latest.place:
            problems.append(
                f"{stand.what} stands at revision {stand.place // 2}, but {latest.what} had "
                f"already ended at revision {latest.place // 2}"
            )
    return problems


def _backwards(ops: Iterable[Op]) -> list[str]:
    """A member's own revision never goes back while its process lives: also for stale reads."""
    stands: dict[tuple[str, int], list[Stand]] = {}
    for op in ops:
        if op.answered and op.revision and op.incarnation >= 0:
            what = f"request {op.id} ({op.kind} at {op.member})"
            # Equal places are fine: those of one member are not told apart.
            stand = Stand(what, 2 * op.revision, op.call, op.end)
            stands.setdefault((op.member, op.incarnation), []).append(stand)
    return [problem for group in stands.values() for problem in out_of_order(group)]
