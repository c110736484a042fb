"""What a compaction leaves, found out in small pieces: a large store is never away for long.

For whoever reads, a compaction counts at once, because what it supersedes cannot be asked for any
more. Only the memory comes back piece by piece (etcd: mvcc/kvstore_compaction.go).
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from master.kvstore.mvcc.records import Record


def _mod(record: Record) -> int:
    return record.mod


class Sweep:
    """Goes through the first records of a log, newest first, and tells what has been superseded
    at `revision`. The log may grow meanwhile, at its end only."""

    def __init__(self, log: Sequence[Record], count: int, revision: int) -> None:
        self.revision = revision
        self.end = bisect_right(log, revision, hi=count, key=_mod)
        self.kept: list[Record] = []  # newest first
        self.dropped: Counter[bytes] = Counter()  # key -> how many of its oldest versions
        self.bytes = 0
        self.gone: list[Record] = []  # the same versions: freeing them all at once takes long, too
        self._log = log
        self._left = self.end
        self._seen: set[bytes] = set()

    @property
    def found(self) -> bool:
        """Whether everything has been looked at."""
        return not self._left

    def look(self, count: int) -> None:
        """Look at `count` more records."""
        first = max(0, self._left - count)
        for position in range(self._left - 1, first - 1, -1):
            record = self._log[position]
            # A tombstone written at `revision` itself stays: a watcher may start exactly there
            # and must see it.
            if record.key in self._seen or (record.tombstone and record.mod < self.revision):
                self.dropped[record.key] += 1
                self.gone.append(record)
                self.bytes += record.size
            else:
                self.kept.append(record)
            self._seen.add(record.key)
        self._left = first

    def remaining(self) -> list[Record]:
        """What is left of the log, oldest first. The last thing to ask for."""
        left, self.kept = self.kept, []
        left.reverse()
        left += self._log[self.end :]
        self._log = ()
        return left

    def free(self, count: int) -> bool:
        """Let go of memory. True: there is more."""
        del self.gone[-count:]
        for _ in range(min(count, len(self._seen))):
            self._seen.pop()
        return bool(self.gone or self._seen)


@dataclass(frozen=True, slots=True)
class History:
    """The first `count` of `records`, oldest first, as of one moment. None of them ever changes,
    so all of this may go on in another thread."""

    records: list[Record]
    count: int
    compacted: int
    swept: bool  # whether what the compaction superseded is gone

    def surviving(self) -> tuple[list[Record], int]:
        """All that the compaction leaves, as a list and how much of it counts."""
        if self.swept:
            return self.records, self.count
        sweep = Sweep(self.records, self.count, self.compacted)
        sweep.look(self.count)
        count = len(sweep.kept) + self.count - sweep.end
        return sweep.remaining(), count

    def hash(self, revision: int) -> int:
        """A checksum of all records up to `revision`: equal on all members."""
        records, count = self.surviving()
        checksum = zlib.crc32(b"%d" % self.compacted)
        for position in range(bisect_right(records, revision, hi=count, key=_mod)):
            record = records[position]
            checksum = zlib.crc32(b"%d.%d" % (record.mod, record.sub), checksum)
            checksum = zlib.crc32(record.encoded, checksum)
        return checksum
