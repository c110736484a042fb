"""The judge itself: it must find what is wrong, and only that."""

from __future__ import annotations

import pytest

from tests.robustness.linearizability import PENDING, Operation, violations


def write(value: str, call: float, end: float) -> Operation:
    return Operation("k", True, value, call, end)


def read(value: str | None, call: float, end: float) -> Operation:
    return Operation("k", False, value, call, end)


@pytest.mark.parametrize(
    "history",
    [
        [read(None, 0, 1), write("a", 2, 3), read("a", 4, 5)],
        [write("a", 0, 9), read(None, 1, 2), read("a", 3, 4)],
        [write("a", 0, 5), write("b", 1, 6), read("a", 7, 8)],
        [write("a", 0, 1), write("b", 2, PENDING), read("a", 3, 4), read("b", 9, 10)],
        [write("a", 0, 1), write("b", 2, PENDING), read("a", 3, 4)],
    ],
    ids=["plain", "overlapping", "either-order", "took-effect-later", "never-happened"],
)
def test_what_is_fine(history: list[Operation]) -> None:
    assert violations(history) == []


@pytest.mark.parametrize(
    "history",
    [
        [write("a", 0, 1), read(None, 2, 3)],
        [write("a", 0, 1), write("b", 2, 3), read("a", 4, 5)],
        [write("a", 0, 1), write("b", 2, PENDING), read("b", 3, 4), read("a", 5, 6)],
        [write("a", 0, 9), read("a", 1, 2), read(None, 3, 4)],
        [read("never written", 0, 1)],
    ],
    ids=["lost-write", "stale-read", "undone-write", "read-then-unread", "invented"],
)
def test_what_is_not(history: list[Operation]) -> None:
    assert violations(history) == ["k"]
