"""Whom a fault hits: filters that narrow the lab's machines down, and a pick among what is left.

A filter or a pick is one file here with one function, and one line in a list below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from types import MappingProxyType

from drills.targets import labels, leader, most_pods, plain
from drills.targets.base import Candidate, NoTarget, View
from drills.targets.spec import Target

Filter = Callable[[Target, list[Candidate], View], Awaitable[list[Candidate]]]
FILTERS: tuple[Filter, ...] = (
    plain.by_name, plain.by_role, labels.by_labels, labels.by_zone, leader.leading,
    leader.not_leading,
)  # fmt: skip
PICKS: Mapping[str, Callable[[list[Candidate], Random], list[Candidate]]] = MappingProxyType(
    {
        "all": plain.in_order,
        "first": plain.in_order,
        "random": plain.shuffled,
        "most-pods": most_pods.most_pods_first,
    }
)


async def choose(target: Target, view: View, chance: Random) -> tuple[str, ...]:
    """The names of the machines that `target` means just now. Raises NoTarget."""
    left = list(view.candidates)
    for narrow in FILTERS:
        left = await narrow(target, left, view)
    if not left:
        raise NoTarget(f"no machine is {_words(target)}", "see `muster node list`")
    ordered = PICKS[target.pick](left, chance)
    return tuple(candidate.name for candidate in ordered[: how_many(target, len(ordered))])


def how_many(target: Target, found: int) -> int:
    """How many of `found` are picked; at least one. Pure."""
    if target.percent is not None:
        return max(1, -(-int(found * target.percent) // 100))
    if target.pick == "all" or target.names:
        return found
    return min(target.count, found)


def _words(target: Target) -> str:
    said = [
        f"called {', '.join(target.names)}" if target.names else "",
        f"a {target.role}" if target.role else "",
        f"labelled {target.labels}" if target.labels else "",
        f"in zone {target.zone}" if target.zone else "",
        f"leader of {target.leader_of}" if target.leader_of else "",
        f"not leader of {target.not_leader_of}" if target.not_leader_of else "",
    ]
    return " and ".join(word for word in said if word) or "there"


__all__ = ["Candidate", "NoTarget", "Target", "View", "choose", "how_many"]
