"""The long watch: its history stays small, its judges see what is wrong, and a leak is told."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.robustness.history import Event, Response, Watch
from tests.robustness.soak.memory import LEAST_SAMPLES, grows
from tests.robustness.soak.streams import Follower
from tests.robustness.soak.window import Window


def puts(count: int, keys: int = 5) -> list[Event]:
    """One put a revision, from 2 on, of each key in turn."""
    events: list[Event] = []
    for number in range(count):
        revision, version = 2 + number, 1 + number // keys
        previous = events[-keys] if number >= keys else None
        events.append(
            Event(
                f"s/{number % keys}", f"v{number}", revision, 2 + number % keys, version, 0,
                (previous.value or "", previous.mod) if previous is not None else None,
            )
        )  # fmt: skip
    return events


def recorded(events: list[Event], window: Window | None = None) -> Window:
    window = window or Window()
    for event in events:
        window.take(Response(0.0, event.mod, [event]))
    return window


def bare(event: Event) -> Event:
    return Event(event.key, event.value, event.mod, event.create, event.version)


def test_a_history_that_forgets_is_whole_and_stays_small() -> None:
    events, window = puts(1000), Window()
    for event in events:
        recorded([event], window)
        window.forget(window.last - 20)
    assert window.problems == []
    assert window.last == 1001
    assert len(window.events) == 21
    assert sum(len(window._by_key[key]) for key in window.keys) <= 21 + 5
    before = window.at("s/0", window.first - 1)
    assert before is not None
    assert before.mod < window.first


def test_a_forgotten_deletion_leaves_nothing() -> None:
    window = recorded([*puts(5), Event("s/0", None, 7, previous=("v0", 2))])
    window.forget(8)
    assert sorted(window.keys) == ["s/1", "s/2", "s/3", "s/4"]
    recorded([Event("s/0", "again", 8, 8, 1)], window)
    assert window.problems == []


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda events: [*events[:4], *events[5:]], "revision 7 was told after 5"),
        (lambda events: [*events[:5], events[4], *events[5:]], "changes s/4 twice"),
        (lambda events: [*events[:5], *events[4:]], "changes s/4 twice"),
    ],
)
def test_what_the_recorder_must_not_be_told(
    broken: Callable[[list[Event]], list[Event]], told: str
) -> None:
    assert any(told in problem for problem in recorded(broken(puts(10))).problems)


def follower(window: Window, start: int = 1, prefix: str = "s/") -> Follower:
    one = Follower(Watch("one", prefix), window, start)
    one.request(1, 0)
    one.created(window.last)
    return one


def test_a_follower_that_is_told_everything_once_is_content_over_sessions() -> None:
    window = recorded(puts(10))
    one = follower(window)
    for event in puts(6):
        one.take(Response(0.0, 7, [bare(event)]))
    one.leave()
    assert one.next == 8
    request = one.request(2, 0).create_request
    assert (request.start_revision, request.watch_id) == (8, 2)
    one.created(11)
    one.take(Response(0.0, 11, [bare(event) for event in puts(10)[6:]]))
    one.take(Response(0.0, 11, []))
    assert one.problems == []
    assert one.next == 12


def test_a_follower_goes_back_only_to_what_is_known_and_not_compacted() -> None:
    window = recorded(puts(20))
    one = follower(window, start=15)
    assert one.request(2, 3).create_request.start_revision == 12
    window.asked = 10
    assert one.request(3, 300).create_request.start_revision == 11
    window.forget(12)
    assert one.request(4, 300).create_request.start_revision == 12


def tell(one: Follower, *responses: list[Event]) -> None:
    for events in responses:
        one.take(Response(0.0, 5, events))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda one, all_: tell(one, [all_[0], all_[2]]), "lost"),
        (lambda one, all_: tell(one, [all_[0]], [all_[0]]), "came again"),
        (lambda one, all_: tell(one, [all_[1], all_[0]]), "not ordered"),
        (lambda one, _: tell(one, []), "told before the events"),
        (lambda one, _: one.cancelled(9, ""), "ended as compacted"),
        (lambda one, _: one.cancelled(0, "tired"), "cancelled: tired"),
    ],
)
def test_what_a_follower_must_not_be_told(
    wrong: Callable[[Follower, list[Event]], object], told: str
) -> None:
    one = follower(recorded(puts(10)))
    wrong(one, [bare(event) for event in puts(10)])
    assert any(told in problem for problem in one.problems), one.problems


def test_a_compacted_follower_goes_on_behind_the_compaction() -> None:
    window = recorded(puts(10))
    window.asked = 6
    one = follower(window)
    one.cancelled(6, "")
    assert one.problems == []
    assert one.next == 7


def _noisy(base: int, slope: float = 0.0) -> list[int]:
    """With a backlog of 40 MB now and then, ever more often."""
    rng, count = random.Random(3), 2 * LEAST_SAMPLES

    def backlog(number: int) -> int:
        return 40 << 20 if rng.random() < 0.6 * number / count else 0

    return [
        int(base + slope * number + rng.uniform(0, 3 << 20) + backlog(number))
        for number in range(count)
    ]


def test_only_a_leak_grows_without_bound() -> None:
    steady = _noisy(70 << 20)
    assert not grows(steady)
    warming = [*range(40 << 20, 70 << 20, 1 << 20), *steady]
    assert not grows(warming)
    assert grows(_noisy(70 << 20, slope=400_000))
    assert not grows([1 << 20, 2 << 20, 9 << 20])
