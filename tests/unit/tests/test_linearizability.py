"""The judge by values: it must find what is wrong, and only that."""

from __future__ import annotations

import pytest

from tests.robustness.history import Compare, Found, Op, Write
from tests.robustness.linearizability import (
    ANY,
    KEEP,
    PENDING,
    Operation,
    operations_of,
    violations,
)


def write(value: str | None, call: float, end: float) -> Operation:
    return Operation("k", ANY, value, call, end)


def read(value: str | None, call: float, end: float) -> Operation:
    return Operation("k", value, KEEP, call, end)


def swap(old: str | None, new: str, call: float, end: float) -> Operation:
    return Operation("k", old, new, call, end)


@pytest.mark.parametrize(
    "history",
    [
        [read(None, 0, 1), write("a", 2, 3), read("a", 4, 5)],
        [write("a", 0, 9), read(None, 1, 2), read("a", 3, 4)],
        [write("a", 0, 5), write("b", 1, 6), read("a", 7, 8)],
        [write("a", 0, 1), write("b", 2, PENDING), read("a", 3, 4), read("b", 9, 10)],
        [write("a", 0, 1), write("b", 2, PENDING), read("a", 3, 4)],
        [write("a", 0, 1), write(None, 2, 3), read(None, 4, 5), swap(None, "b", 6, 7)],
        [write("a", 0, 9), write(None, 1, 10), read(None, 11, 12)],
        [swap("a", "b", 0, 9), write("a", 1, 2), read("b", 10, 11)],
    ],
    ids=[
        "plain", "overlapping", "either-order", "took-effect-later", "never-happened",
        "delete", "delete-comes-second", "swap-waits",
    ],
)  # fmt: skip
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
        [write("a", 0, 1), swap("a", "b", 2, 9), swap("a", "c", 3, 9)],
        [write("a", 0, 1), write(None, 2, 3), read("a", 4, 5)],
    ],
    ids=[
        "lost-write", "stale-read", "undone-write", "read-then-unread", "invented",
        "both-swapped", "undeleted",
    ],
)  # fmt: skip
def test_what_is_not(history: list[Operation]) -> None:
    assert violations(history) == ["k"]


def test_a_transaction_says_something_of_each_of_its_keys() -> None:
    op = Op(
        1, "txn", "m1", 0.0, compares=[Compare("x", 5, "old")],
        writes=[Write("x", "new"), Write("y", None)], reads=["z"], end=1.0,
        found=[Found("z", "there", 3)],
    )  # fmt: skip
    assert operations_of([op]) == [
        Operation("x", "old", "new", 0.0, 1.0),
        Operation("y", ANY, None, 0.0, 1.0),
        Operation("z", "there", KEEP, 0.0, 1.0),
    ]


def test_a_failed_transaction_only_reads() -> None:
    op = Op(
        1, "txn", "m1", 0.0, compares=[Compare("x", 5, "old")], writes=[Write("x", "new")],
        reads=["x"], end=1.0, succeeded=False, found=[Found("x", "other", 6)],
    )  # fmt: skip
    assert operations_of([op]) == [Operation("x", "other", KEEP, 0.0, 1.0)]


def test_an_unanswered_transaction_may_have_written() -> None:
    op = Op(1, "put", "m1", 3.0, writes=[Write("x", "v")])
    assert operations_of([op]) == [Operation("x", ANY, "v", 3.0, PENDING)]
