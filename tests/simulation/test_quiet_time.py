"""Skipping quiet time changes nothing: the same seed gives the same history, to the byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from master.kvstore.raft.core import Config, Core, Write
from master.kvstore.raft.messages import Entry, HardState, Membership, Message, MessageType
from master.kvstore.raft.progress import Progress
from tests.simulation.episodes import Episodes
from tests.simulation.quiet import picture
from tests.simulation.raft_cluster import Cluster
from tests.simulation.timeline import PERIOD

MINUTES = 60_000


def history(seed: int, members: int, *, skip: bool, changes: bool) -> tuple[Cluster, str]:
    lines: list[str] = []

    def trace(when: int, line: str) -> None:
        lines.append(f"{when} {line}\n")

    cluster = Cluster(seed, members, 2 * changes, skip_quiet=skip, trace=trace)
    Episodes(cluster, gap_ms=60_000, changes=changes)
    cluster.run(12 * MINUTES)
    return cluster, "".join(lines)


@pytest.mark.parametrize(
    ("members", "changes"), [(1, False), (3, False), (3, True), (5, False)], ids=str
)
def test_skipping_gives_the_history_that_stepping_gives(members: int, changes: bool) -> None:
    """Every line of the trace, the state at the end, and everything the checker knows."""
    seed = 4 * members + changes
    skipping, skipped = history(seed, members, skip=True, changes=changes)
    stepping, stepped = history(seed, members, skip=False, changes=changes)
    assert skipped == stepped
    assert skipping.state() == stepping.state()
    assert skipping.skipped_ms > 4 * MINUTES, "much of it was quiet"
    assert stepping.skipped_ms == 0
    assert skipping.stepped + skipping.skipped == stepping.stepped


def small_core() -> Core:
    core = Core(
        Config(1),
        random.Random(1),
        membership=Membership(voters=frozenset({1, 2})),
        hard_state=HardState(3),
        entries=[Entry(3, 1, b"x")],
    )
    core.progress[2] = Progress()
    return core


CHANGES: list[Callable[[Core], Any]] = [
    lambda core: core.tick(),
    lambda core: core.step(Message(MessageType.HEARTBEAT, 1, 2, 3)),
    lambda core: core.log.entries.append(Entry(3, 2)),
    lambda core: core.progress[2].sent([Entry(3, 1, b"x")]),
    lambda core: core.reads.acknowledge(2, bytes(8)),
    lambda core: core.rng.random(),
    lambda core: core.held.append(Message(MessageType.VOTE, 1, 2)),
    lambda core: setattr(core, "writing", Write(HardState(4))),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_shows_every_change_of_a_core(change: Callable[[Core], Any]) -> None:
    core = small_core()
    before = picture(core)
    assert picture(core) == before
    change(core)
    assert picture(core) != before


def test_a_picture_shows_each_attribute_whatever_it_is() -> None:
    """Also those that are added later: nothing is picked by name."""
    core = small_core()
    for holder in (core, core.log, core.progress[2]):
        for name in list(getattr(holder, "__slots__", None) or vars(holder)):
            before, value = picture(core), getattr(holder, name)
            setattr(holder, name, "something else")
            assert picture(core) != before, name
            setattr(holder, name, value)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        picture([object()])


def test_a_fault_that_lasts_is_not_taken_for_quiet_time() -> None:
    """A leader nobody hears of: elections go on, so nothing repeats and nothing is skipped."""
    cluster = Cluster(5, 3)
    cluster.calm = True
    cluster.run(5 * PERIOD)
    cluster.cut = {(a, b) for a in cluster.everybody for b in cluster.everybody}
    cluster.at(0, cluster.trace, "cut")
    cluster.run(60 * PERIOD)
    assert cluster.skipped_ms == 0
