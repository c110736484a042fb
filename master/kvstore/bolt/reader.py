"""Reading a database file that anybody may have made. Pure: works on bytes or a memory map.

Nothing in the file is trusted: every page is inside the file, of the kind it must be, and visited
once; elements lie in their page, one behind the other. So time and memory are bounded by the
file's size, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap

from master.kvstore.bolt.page import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET,
    CHECKSUM,
    ELEMENT_SIZE,
    HEADER,
    IS_BUCKET,
    LEAF,
    LEAF_ELEMENT,
    MAGIC,
    META_BODY,
    META_PAGES,
    VERSION,
    checksum,
)

Item = tuple[bytes, bytes]
_PAGE_SIZES = tuple(1 << bits for bits in range(9, 17))  # the second meta page may be here


class BadDatabase(Exception):
    """The file is no bbolt database, or a damaged one."""


class Database:
    """The buckets of a file; `data[:size]` is looked at."""

    def __init__(self, data: bytes | mmap, size: int | None = None) -> None:
        self._data = data
        self._size = len(data) if size is None else size
        self.page_size, self._root, pages = self._newest_meta()
        self.used_bytes = pages * self.page_size  # by what the file says
        self._buckets: dict[bytes, bytes] = {}
        self._seen = bytearray(self._size // self.page_size)
        for leaf in self._leaves(self._root, IS_BUCKET):
            self._buckets.update(leaf)

    def __contains__(self, name: object) -> bool:
        return name in self._buckets

    def __iter__(self) -> Iterator[bytes]:
        """The buckets' names, in order."""
        return iter(self._buckets)

    def items(self, name: bytes) -> Iterator[Item]:
        for leaf in self.leaves(name):
            yield from leaf

    def leaves(self, name: bytes) -> Iterator[list[Item]]:
        """A bucket's items in order, a leaf page at a time. Nothing if there is no such bucket."""
        bucket = self._buckets.get(name)
        if bucket is None:
            return
        if len(bucket) < BUCKET.size:
            raise BadDatabase(f"bucket {name!r}: no root")
        root, _ = BUCKET.unpack_from(bucket)
        self._seen = bytearray(len(self._seen))
        if root:
            yield from self._leaves(root, 0)
        else:
            yield _inline(bucket[BUCKET.size :])

    # --- the meta pages

    def _newest_meta(self) -> tuple[int, int, int]:
        """Page size, root page, count of pages by the valid meta page of the newest transaction."""
        first = self._meta(0)
        found = [first, self._meta(first[0])] if first else map(self._meta, _PAGE_SIZES)
        newest = max(filter(None, found), key=lambda meta: meta[2], default=None)
        if newest is None:
            raise BadDatabase("no valid meta page")
        return newest[0], newest[1], newest[3]

    def _meta(self, at: int) -> tuple[int, int, int, int] | None:
        """Page size, root page, transaction, count of pages; None when this is no meta page."""
        start = at + HEADER.size
        if start + META_BODY.size + CHECKSUM.size > self._size:
            return None
        magic, version, page_size, _, root, _, _, pages, transaction = META_BODY.unpack_from(
            self._data, start
        )
        if (magic, version) != (MAGIC, VERSION) or page_size not in _PAGE_SIZES:
            return None
        (kept,) = CHECKSUM.unpack_from(self._data, start + META_BODY.size)
        if kept != checksum(self._data[start : start + META_BODY.size]):
            return None
        return page_size, root, transaction, pages

    # --- trees

    def _leaves(self, root: int, flags: int) -> Iterator[list[Item]]:
        """The leaf pages below `root`, from left to right."""
        waiting = [root]
        last = b""
        while waiting:
            number = waiting.pop()
            start, end, kind, count = self._visit(number)
            if kind == LEAF:
                leaf = _leaf(self._data[start:end], count, flags)
                last = _check_order(last, leaf)
                yield leaf
            elif kind == BRANCH:
                waiting += reversed(_children(self._data[start:end], count))
            else:
                raise BadDatabase(f"page {number} is neither leaf nor branch")

    def _visit(self, number: int) -> tuple[int, int, int, int]:
        """Where the content of a page is, its kind and its count of elements."""
        if not META_PAGES <= number < len(self._seen):
            raise BadDatabase(f"page {number} is outside of the file")
        start = number * self.page_size
        own, kind, count, overflow = HEADER.unpack_from(self._data, start)
        if own != number:
            raise BadDatabase(f"page {number} says that it is page {own}")
        if number + overflow >= len(self._seen):
            raise BadDatabase(f"page {number} goes on outside of the file")
        extent = slice(number, number + 1 + overflow)
        if any(self._seen[extent]):
            raise BadDatabase(f"page {number} is used twice")
        self._seen[extent] = b"\1" * (1 + overflow)
        return start + HEADER.size, start + (1 + overflow) * self.page_size, kind, count


def _inline(page: bytes) -> list[Item]:
    if len(page) < HEADER.size:
        raise BadDatabase("an inline bucket without a page")
    _, kind, count, _ = HEADER.unpack_from(page)
    if kind != LEAF:
        raise BadDatabase("an inline bucket must be a leaf")
    return _leaf(page[HEADER.size :], count, 0)


def _leaf(body: bytes, count: int, wanted: int) -> list[Item]:
    end = at = ELEMENT_SIZE * count
    if end > len(body):
        raise BadDatabase("more elements than fit the page")
    items = []
    at = 0
    for flags, offset, key_size, value_size in LEAF_ELEMENT.iter_unpack(body[:end]):
        key = at + offset
        value = key + key_size
        # Behind the one before: what overlaps could be multiplied without bound.
        if flags != wanted or key < end:
            raise BadDatabase("a leaf's element is not what it must be")
        end = value + value_size
        items.append((body[key:value], body[value:end]))
        at += ELEMENT_SIZE
    if end > len(body):
        raise BadDatabase("a leaf's element ends outside of its page")
    return items


def _check_order(last: bytes, leaf: list[Item]) -> bytes:
    """Keys ascend in a leaf and from one to the next. Returns the last one."""
    for key, _ in leaf:
        if key <= last:
            raise BadDatabase("keys are out of order")
        last = key
    return last


def _children(body: bytes, count: int) -> list[int]:
    if ELEMENT_SIZE * count > len(body):
        raise BadDatabase("more elements than fit the page")
    return [page for _, _, page in BRANCH_ELEMENT.iter_unpack(body[: ELEMENT_SIZE * count])]
