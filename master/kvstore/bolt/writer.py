"""A whole database file at once, from sorted items, as a stream of pages. Pure.

The file names its root in its first page, so the layout is planned before the first byte leaves:
buckets are gone through twice, once for the sizes, once for the content. In between only the
first key of every leaf page is kept.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

from master.kvstore.bolt.page import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET,
    CHECKSUM,
    ELEMENT_SIZE,
    HEADER,
    IS_BUCKET,
    LEAF,
    MAGIC,
    META,
    META_BODY,
    META_PAGES,
    NO_FREELIST,
    PAGE_SIZE,
    VERSION,
    checksum,
)

Item = tuple[bytes, bytes]
# A bucket's items in ascending order, in batches of any size; the same ones at each call.
Batches = Callable[[], Iterable[Sequence[Item]]]

_ROOM = PAGE_SIZE - HEADER.size
_TRANSACTION = 1
_INLINE_EMPTY = BUCKET.pack(0, 0) + HEADER.pack(0, LEAF, 0, 0)


@dataclass(slots=True)
class _Tree:
    """Where the pages of one bucket are: leaves first, then the levels above, the root last."""

    batches: Batches
    start: int
    counts: array[int] = field(default_factory=lambda: array("H"))  # items in each leaf page
    overflows: array[int] = field(default_factory=lambda: array("I"))
    branches: list[bytes] = field(default_factory=list)
    end: int = 0

    @property
    def root(self) -> int:
        return self.end - 1 - (0 if self.branches else self.overflows[-1])


class FilePlan:
    """The layout of a file with these buckets, one at least. `size` is known before anything is
    written."""

    def __init__(self, buckets: dict[bytes, Batches]) -> None:
        self._trees: list[_Tree] = []
        roots: list[Item] = []
        page = META_PAGES
        for name, batches in sorted(buckets.items()):
            tree = _planned(batches, page)
            page = tree.end
            if tree.counts:
                self._trees.append(tree)
            roots.append((name, BUCKET.pack(tree.root, 0) if tree.counts else _INLINE_EMPTY))
        self._directory = _planned(lambda: [roots], page)
        self.size = self._directory.end * PAGE_SIZE

    def pages(self) -> Iterator[bytes]:
        """The file, a page (with what it goes on over) at a time."""
        root, pages = self._directory.root, self._directory.end
        for number in (0, 1):
            yield _meta(number, root, pages, _TRANSACTION - number)
        for tree in self._trees:
            yield from _tree_pages(tree, 0)
        yield from _tree_pages(self._directory, IS_BUCKET)


def _planned(batches: Batches, start: int) -> _Tree:
    """Fill leaf pages one after the other, as full as can be."""
    tree = _Tree(batches, start)
    first_keys: list[bytes] = []
    rest: list[Item] = []
    for batch in batches():
        rest = _fill(tree, first_keys, [*rest, *batch], last=False)
    _fill(tree, first_keys, rest, last=True)
    ids = list(accumulate((1 + over for over in tree.overflows), initial=start))
    tree.end = ids.pop()
    level = list(zip(first_keys, ids, strict=True))
    while len(level) > 1:
        level = _branch_level(tree, level)
    return tree


def _fill(tree: _Tree, first_keys: list[bytes], items: list[Item], *, last: bool) -> list[Item]:
    """Make leaf pages of `items`; returns those that may still share a page with later ones."""
    sizes = [len(key) + len(value) + ELEMENT_SIZE for key, value in items]
    ends = list(accumulate(sizes, initial=0))
    position = 0
    while position < len(items):
        stop = bisect_right(ends, ends[position] + _ROOM) - 1
        if stop >= len(items) and not last:
            break
        stop = max(stop, position + 1)  # one item that is larger than a page
        tree.counts.append(stop - position)
        tree.overflows.append(-(-(ends[stop] - ends[position] + HEADER.size) // PAGE_SIZE) - 1)
        first_keys.append(items[position][0])
        position = stop
    return items[position:]


def _branch_level(tree: _Tree, below: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    level = []
    ends = list(accumulate((len(key) + ELEMENT_SIZE for key, _ in below), initial=0))
    position = 0
    while position < len(below):
        stop = max(bisect_right(ends, ends[position] + _ROOM) - 1, position + 1)
        page = _branch_page(tree.end, below[position:stop])
        level.append((below[position][0], tree.end))
        tree.branches.append(page)
        tree.end += len(page) // PAGE_SIZE
        position = stop
    return level


def _branch_page(number: int, children: list[tuple[bytes, int]]) -> bytes:
    elements = bytearray()
    offset = ELEMENT_SIZE * len(children)
    for key, page in children:
        elements += BRANCH_ELEMENT.pack(offset, len(key), page)
        offset += len(key) - ELEMENT_SIZE
    return _page(number, BRANCH, len(children), [elements, *(key for key, _ in children)])


def _tree_pages(tree: _Tree, flags: int) -> Iterator[bytes]:
    page = tree.start
    leaves = iter(zip(tree.counts, tree.overflows, strict=True))
    items: list[Item] = []
    leaf = next(leaves, None)
    for batch in tree.batches():
        items += batch
        position = 0
        while leaf is not None and position + leaf[0] <= len(items):
            yield _leaf_page(page, flags, items[position : position + leaf[0]])
            position += leaf[0]
            page += 1 + leaf[1]
            leaf = next(leaves, None)
        del items[:position]
    assert leaf is None and not items, "the items changed between planning and writing"
    yield from tree.branches


def _leaf_page(number: int, flags: int, items: Sequence[Item]) -> bytes:
    heads: list[int] = []
    offset = ELEMENT_SIZE * len(items)
    for key, value in items:
        key_size, value_size = len(key), len(value)
        heads += (flags, offset, key_size, value_size)
        offset += key_size + value_size - ELEMENT_SIZE
    packed = struct.pack(f"<{len(heads)}I", *heads)
    return _page(number, LEAF, len(items), [packed, *chain.from_iterable(items)])


def _page(number: int, kind: int, count: int, parts: list[bytes | bytearray]) -> bytes:
    size = HEADER.size + sum(map(len, parts))
    overflow = -(-size // PAGE_SIZE) - 1
    padding = bytes((1 + overflow) * PAGE_SIZE - size)
    return b"".join([HEADER.pack(number, kind, count, overflow), *parts, padding])


def _meta(number: int, root: int, pages: int, transaction: int) -> bytes:
    body = META_BODY.pack(MAGIC, VERSION, PAGE_SIZE, 0, root, 0, NO_FREELIST, pages, transaction)
    return _page(number, META, 0, [body, CHECKSUM.pack(checksum(body))])
