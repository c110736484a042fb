"""A cable on which frames are late: when each leaves, and that nothing else changes."""

from __future__ import annotations

import random

from provision.providers.local.slowwire import Lateness, Queue, WireSpec


def queue(**wire: float) -> Queue:
    spec: WireSpec = {
        "port": "", "tap": "", "record": "", "delay_ms": 100, "jitter_ms": 0,
        "duplicate_percent": 0, "reorder_percent": 0, **wire,  # type: ignore[typeddict-item]
    }  # fmt: skip
    return Queue(Lateness(spec, random.Random(7)))


def leaving(waiting: Queue, until: float) -> list[tuple[int, bytes]]:
    found = []
    while (due := waiting.due(until)) is not None:
        found.append(due)
    return found


def test_every_frame_waits_and_keeps_its_place_and_its_direction() -> None:
    waiting = queue()
    for number in range(5):
        waiting.put(10.0 + number / 100, number % 2, b"%d" % number)
    assert waiting.pause(10.04) is not None
    assert leaving(waiting, 10.099) == []
    assert leaving(waiting, 10.121) == [(0, b"0"), (1, b"1"), (0, b"2")]
    assert leaving(waiting, 10.2) == [(1, b"3"), (0, b"4")]
    assert waiting.pause(10.2) is None


def test_jitter_stays_within_its_bounds() -> None:
    waiting = queue(jitter_ms=50)
    for number in range(1000):
        waiting.put(0.0, 1, b"%d" % number)
    assert leaving(waiting, 0.0499) == []
    early = leaving(waiting, 0.1)
    assert 400 < len(early) < 600
    assert len(early) + len(leaving(waiting, 0.1501)) == 1000


def test_some_come_twice_and_some_overtake() -> None:
    waiting = queue(duplicate_percent=20, reorder_percent=30)
    for number in range(1000):
        waiting.put(0.0, 1, b"%d" % number)
    early = leaving(waiting, 0.0)
    late = leaving(waiting, 1.0)
    assert 1150 < len(early) + len(late) < 1250
    assert 0.25 < len(early) / (len(early) + len(late)) < 0.35


def test_what_waits_is_bounded() -> None:
    waiting = queue()
    for _ in range(1000):
        waiting.put(0.0, 1, bytes(65536))
    assert len(leaving(waiting, 1.0)) == 512
    waiting.put(2.0, 1, b"again")
    assert leaving(waiting, 3.0) == [(1, b"again")]
