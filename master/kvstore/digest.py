"""A checksum of what a member holds, to compare members by."""

from __future__ import annotations

import asyncio

import msgspec

from master.kvstore.mvcc.store import Mvcc


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """What a member holds up to a revision. Comparable only at the same compaction."""

    hash: int
    compacted: int
    revision: int

    def differs(self, other: Digest) -> bool:
        return self.compacted == other.compacted and self.hash != other.hash


async def digest(store: Mvcc, revision: int) -> Digest:
    """Raises Compacted or FutureRevision when this member is not there (any more)."""
    store.check_readable(revision)
    history = store.history()  # as of now; the rest may take a while
    checksum = await asyncio.to_thread(history.hash, revision)
    return Digest(checksum, history.compacted, revision)
