"""bbolt files: what was written is read, whatever its size; damage is refused, never followed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.kvstore.bolt.page import (
    BRANCH,
    BRANCH_ELEMENT,
    HEADER,
    LEAF,
    LEAF_ELEMENT,
    MAGIC,
    META_BODY,
    PAGE_SIZE,
    checksum,
)
from master.kvstore.bolt.reader import BadDatabase, Database
from master.kvstore.bolt.writer import FilePlan

Contents = dict[bytes, dict[bytes, bytes]]
values = st.binary(max_size=40) | st.integers(0, 3 * PAGE_SIZE).map(bytes)
contents: st.SearchStrategy[Contents] = st.dictionaries(
    st.binary(min_size=1, max_size=20),
    st.dictionaries(st.binary(min_size=1, max_size=60), values, max_size=60),
    min_size=1,
    max_size=4,
)


def file_of(buckets: Contents, batch: int = 7) -> bytes:
    def batches(items: list[tuple[bytes, bytes]]) -> Iterable[list[tuple[bytes, bytes]]]:
        return (items[at : at + batch] for at in range(0, len(items), batch))

    plan = FilePlan(
        {name: lambda kept=kept: batches(sorted(kept.items())) for name, kept in buckets.items()}
    )
    data = b"".join(plan.pages())
    assert len(data) == plan.size
    return data


def read_all(data: bytes, names: Iterable[bytes]) -> Contents:
    database = Database(data)
    return {name: dict(database.items(name)) for name in names}


@settings(max_examples=60)
@given(contents, st.integers(1, 100))
def test_what_was_written_is_read(buckets: Contents, batch: int) -> None:
    assert read_all(file_of(buckets, batch), buckets) == buckets


@pytest.mark.parametrize("count", [0, 1, 50, 5_000, 60_000])
def test_trees_of_any_height(count: int) -> None:
    """60,000 keys of 60 bytes make three levels of pages."""
    kept = {b"%060d" % number: b"v%d" % number for number in range(count)}
    database = Database(file_of({b"key": kept}, 1000))
    assert list(database.items(b"key")) == list(kept.items())


def test_there_is_no_bucket_of_another_name() -> None:
    database = Database(file_of({b"key": {b"a": b"1"}}))
    assert b"key" in database
    assert b"lease" not in database
    assert list(database.items(b"lease")) == []


def test_the_newer_meta_page_counts_and_either_is_enough() -> None:
    data = bytearray(file_of({b"key": {b"a": b"1"}}))
    for page in (0, 1):
        damaged = bytearray(data)
        damaged[page * PAGE_SIZE + HEADER.size] ^= 1
        assert read_all(bytes(damaged), [b"key"]) == {b"key": {b"a": b"1"}}
    data[HEADER.size] ^= 1
    data[PAGE_SIZE + HEADER.size] ^= 1
    with pytest.raises(BadDatabase, match="no valid meta page"):
        Database(bytes(data))


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    """Any bytes may be anything: the reader ends, and what it returns is not more than is there."""
    file = bytearray(file_of({b"key": {b"%03d" % n: bytes(n) for n in range(150)}, b"meta": {}}))
    for _ in range(data.draw(st.integers(1, 6))):
        page = data.draw(st.integers(0, len(file) // PAGE_SIZE - 1))
        at = page * PAGE_SIZE + data.draw(st.integers(0, 200))
        file[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    for shown in (bytes(file), bytes(file[:cut])):
        try:
            found = read_all(shown, [b"key", b"meta"])
        except BadDatabase:
            continue
        assert sum(len(k) + len(v) for kept in found.values() for k, v in kept.items()) < len(file)


def tree_file(pages: dict[int, bytes], root: int, count: int) -> bytes:
    """A file whose directory of buckets is the tree at `root`."""
    body = META_BODY.pack(MAGIC, 2, PAGE_SIZE, 0, root, 0, 0, count, 1)
    file = bytearray(count * PAGE_SIZE)
    meta = HEADER.pack(0, 4, 0, 0) + body + checksum(body).to_bytes(8, "little")
    file[: len(meta)] = meta
    for number, page in pages.items():
        file[number * PAGE_SIZE : number * PAGE_SIZE + len(page)] = page
    return bytes(file)


def branch(number: int, *children: int) -> bytes:
    elements = b"".join(BRANCH_ELEMENT.pack(16, 0, child) for child in children)
    return HEADER.pack(number, BRANCH, len(children), 0) + elements


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ({2: branch(2, 2)}, "used twice"),
        ({2: branch(2, 3, 3), 3: branch(3)}, "used twice"),
        ({2: branch(2, 3), 3: branch(3, 2)}, "used twice"),
        ({2: branch(2, 0)}, "outside"),
        ({2: branch(2, 99)}, "outside"),
        ({2: branch(2, 3), 3: branch(4)}, "says that it is page 4"),
        ({2: HEADER.pack(2, LEAF, 0, 99)}, "goes on outside"),
        ({2: HEADER.pack(2, LEAF, 0, 1), 3: HEADER.pack(3, LEAF, 0, 0)}, ""),
        ({2: HEADER.pack(2, LEAF, 65535, 0)}, "more elements"),
        ({2: HEADER.pack(2, BRANCH, 65535, 0)}, "more elements"),
        ({2: HEADER.pack(2, 16, 0, 0)}, "neither leaf nor branch"),
        ({2: HEADER.pack(2, LEAF, 1, 0) + LEAF_ELEMENT.pack(0, 16, 1, 1)}, "not what it must be"),
        ({2: HEADER.pack(2, LEAF, 1, 0) + LEAF_ELEMENT.pack(1, 15, 1, 1)}, "not what it must be"),
        ({2: HEADER.pack(2, LEAF, 1, 0) + LEAF_ELEMENT.pack(1, 16, 1, 4096)}, "ends outside"),
        (
            {
                2: HEADER.pack(2, LEAF, 2, 0)
                + LEAF_ELEMENT.pack(1, 32, 1, 1)
                + LEAF_ELEMENT.pack(1, 18, 1, 1)
                + b"b1a2"
            },
            "out of order",
        ),
        (
            # Two elements that both are nearly the whole page: overlapping, so refused.
            {2: HEADER.pack(2, LEAF, 2, 0) + LEAF_ELEMENT.pack(1, 32, 1, 4000) * 2},
            "not what it must be",
        ),
    ],
)
def test_loops_and_lies_are_refused(pages: dict[int, bytes], why: str) -> None:
    file = tree_file(pages, 2, 6)
    if not why:
        assert b"key" not in Database(file)
        return
    with pytest.raises(BadDatabase, match=why):
        Database(file)


def test_a_bucket_without_a_root_is_refused() -> None:
    leaf = HEADER.pack(2, LEAF, 1, 0) + LEAF_ELEMENT.pack(1, 16, 3, 5) + b"key" + b"short"
    with pytest.raises(BadDatabase, match="no root"):
        list(Database(tree_file({2: leaf}, 2, 3)).items(b"key"))
