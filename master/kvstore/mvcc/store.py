"""The versions of all keys: a sorted index of keys, and the history of revisions.

Single-threaded: whoever reads between two writes sees one consistent state.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sortedcontainers import SortedList

from kube.stubs.etcd import rpc_pb2
from master.kvstore.errors import Compacted, FutureRevision
from master.kvstore.mvcc.compaction import History, Sweep
from master.kvstore.mvcc.records import Change, Record, deleted, first_versions, written
from master.kvstore.mvcc.sorting import sorted_gently

TO_THE_END = b"\0"  # a range_end that means: every key from `key` on


def _mod(record: Record) -> int:
    return record.mod


class Mvcc:
    """Revision 1 is the empty store; each write transaction makes the next revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.head = 1  # like revision, but ahead of it while a transaction is writing
        self.compacted = -1
        self._swept = -1
        self._sweep: Sweep | None = None
        self.total_bytes = 0
        # Most keys have one version: a history is its newest record, and a list of those before
        # it only where there are any. That is a third of a small key's memory.
        self._newest: dict[bytes, Record] = {}
        self._older: dict[bytes, list[Record]] = {}
        self._live: SortedList = SortedList()  # the keys that exist now
        self._gone: SortedList = SortedList()  # those that have a history and no more
        self._log: list[Record] = []  # all records in the order in which they were written

    # --- reading

    def check_readable(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision
        if revision < self.compacted:
            raise Compacted

    def get(self, key: bytes) -> Record | None:
        record = self._newest.get(key)
        return None if record is None or record.tombstone else record

    def get_at(self, key: bytes, revision: int) -> Record | None:
        record = self._newest.get(key)
        if record is not None and record.mod > revision:
            older = self._older.get(key, ())
            position = bisect_right(older, revision, key=_mod)
            record = older[position - 1] if position else None
        return None if record is None or record.tombstone else record

    def scan(self, key: bytes, end: bytes, revision: int, limit: int) -> tuple[list[Record], int]:
        """Up to `limit` (0: all) records of [key, end) at `revision`, and the count of all."""
        if not end:
            record = self.get(key) if revision >= self.head else self.get_at(key, revision)
            return ([record], 1) if record else ([], 0)
        if revision >= self.head:
            return self._scan_now(key, end, limit)
        found = [
            record
            for name in self._ever_between(key, end)
            if (record := self.get_at(name, revision))
        ]
        return found[:limit] if limit else found, len(found)

    def count(self, key: bytes, end: bytes, revision: int) -> int:
        if end and revision >= self.head:
            return self._count_now(key, end)
        return self.scan(key, end, revision, 0)[1]

    def _scan_now(self, key: bytes, end: bytes, limit: int) -> tuple[list[Record], int]:
        names: Iterable[bytes] = self._between(self._live, key, end)
        if limit:
            found = [self._newest[name] for name in islice(names, limit)]
            return found, self._count_now(key, end)
        found = [self._newest[name] for name in names]
        return found, len(found)

    def _count_now(self, key: bytes, end: bytes) -> int:
        first = int(self._live.bisect_left(key))
        last = len(self._live) if end == TO_THE_END else int(self._live.bisect_left(end))
        return max(0, last - first)

    def _between(self, names: SortedList, key: bytes, end: bytes) -> Iterator[bytes]:
        upper = None if end == TO_THE_END else end
        if upper is not None and upper <= key:
            return iter(())
        keys: Iterator[bytes] = names.irange(key, upper, inclusive=(True, False))
        return keys

    def _ever_between(self, key: bytes, end: bytes) -> list[bytes]:
        """Those that exist now, and those that once did."""
        names = [*self._between(self._live, key, end), *self._between(self._gone, key, end)]
        names.sort()  # two sorted runs: that is one merge
        return names

    def changes_from(self, revision: int, until: int) -> Iterator[Change]:
        """Every change of revisions `revision..=until`, in order. For watchers that catch up."""
        for position in range(bisect_left(self._log, revision, key=_mod), len(self._log)):
            record = self._log[position]
            if record.mod > until:
                return
            yield Change(record, self._before(record))

    def _before(self, record: Record) -> Record | None:
        """What `record` replaced, unless that is compacted away."""
        older = self._older.get(record.key, ())
        position = bisect_left(older, (record.mod, record.sub), key=lambda r: (r.mod, r.sub))
        if position == 0 or older[position - 1].tombstone:
            return None
        return older[position - 1]

    def keys(self) -> int:
        return len(self._live)

    def live(self) -> Iterator[Record]:
        """What exists now, in key order."""
        return (self._newest[name] for name in self._live)

    # --- writing

    def begin(self) -> WriteTxn:
        return WriteTxn(self)

    def put(self, key: bytes, value: bytes, lease: int) -> Change:
        """One key as a revision of its own: most writes, so without the cost of a transaction."""
        prev = self.get(key)
        mod = self.revision + 1
        record = written(key, value, lease, mod, 0, prev)
        self._add(record, prev)
        self.revision = mod
        return Change(record, prev)

    def _add(self, record: Record, prev: Record | None) -> None:
        key = record.key
        before = prev or self._newest.get(key)  # a tombstone at most, where there is no `prev`
        self._newest[key] = record
        if before is None:
            self._live.add(key)
        else:
            self._replace(record, before)
        self._log.append(record)
        self.head = record.mod
        self.total_bytes += len(record.encoded) + len(key)

    def _replace(self, record: Record, before: Record) -> None:
        key = record.key
        if (older := self._older.get(key)) is not None:
            older.append(before)
        else:
            self._older[key] = [before]
        if record.tombstone:
            self._live.remove(key)
            self._gone.add(key)
        elif before.tombstone:
            self._gone.remove(key)
            self._live.add(key)

    def compact(self, revision: int) -> None:
        """From now on nothing before `revision` can be read. `sweep` gives the memory back."""
        if revision <= self.compacted:
            raise Compacted
        if revision > self.revision:
            raise FutureRevision
        self.compacted = revision

    def leap(self, amount: int) -> None:
        """Go `amount` revisions on without a write, and compact there: whoever watched a later
        state of this store is told that it has to read anew, and misses nothing."""
        self.revision += amount
        self.head = self.revision
        self.compact(self.revision)

    @property
    def swept(self) -> bool:
        """Whether everything that compactions have superseded is gone."""
        return self._swept == self.compacted

    def sweep(self, budget: int) -> bool:
        """Do about `budget` records' share of the work that compactions have left. True: there is
        more to do."""
        if self._sweep is None:
            if self.swept:
                return False
            self._sweep = Sweep(self._log, len(self._log), self.compacted)
        sweep = self._sweep
        if not sweep.found:
            sweep.look(budget)
        elif sweep.dropped:
            for _ in range(min(budget, len(sweep.dropped))):
                self._forget(*sweep.dropped.popitem())
        elif self._swept < sweep.revision:
            self._log = sweep.remaining()
            self.total_bytes -= sweep.bytes
            self._swept = sweep.revision
        elif not sweep.free(budget):
            self._sweep = None
        return self._sweep is not None or not self.swept

    def _forget(self, key: bytes, count: int) -> None:
        """Take the `count` oldest versions of a key away; they may be all it has."""
        older = self._older.get(key, [])
        gone = min(count, len(older))
        del older[:gone]
        if gone and not older:
            del self._older[key]
        if gone < count:
            del self._newest[key]
            self._gone.remove(key)  # or its newest version would be needed

    # --- snapshots

    def history(self) -> History:
        """All records as of now. More is added to the log at its end only, and a compaction makes
        a new one, so this costs nothing."""
        return History(self._log, len(self._log), self.compacted, self.swept)

    def hash(self, revision: int) -> int:
        return self.history().hash(revision)

    @classmethod
    def restore(cls, compacted: int, batches: Iterable[Sequence[Record]]) -> Mvcc:
        """From all records, oldest first.

        May run beside the event loop: no single step of it keeps the interpreter for long.
        """
        store = cls()
        newest, older = store._newest, store._older
        for batch in batches:
            for record in batch:
                key = record.key
                if key in newest:
                    older.setdefault(key, []).append(newest[key])
                newest[key] = record
            store._log += batch
        # What was written last is never compacted, unless it was a deletion.
        last = store._log[-1].mod if store._log else 1
        store.revision = store.head = max(last, compacted)
        store.compacted = store._swept = compacted
        store.total_bytes = sum(len(r.encoded) + len(r.key) for r in store._log)
        names = sorted_gently(newest)
        gone = {record.key for record in newest.values() if record.tombstone}
        store._live = SortedList(name for name in names if name not in gone)
        store._gone = SortedList(sorted_gently(gone))
        return store


class WriteTxn:
    """Writes that become one revision. Nothing in it can fail: check before you begin."""

    def __init__(self, store: Mvcc) -> None:
        self._store = store
        self._main = store.revision + 1
        self.changes: list[Change] = []

    @property
    def revision(self) -> int:
        """The revision that a response inside the transaction reports."""
        return self._main if self.changes else self._store.revision

    def put(self, key: bytes, value: bytes, lease: int) -> Record | None:
        changes = self.changes
        prev = self._store.get(key)
        record = written(key, value, lease, self._main, len(changes), prev)
        self._store._add(record, prev)
        changes.append(Change(record, prev))
        return prev

    def put_all(self, puts: Iterable[rpc_pb2.PutRequest]) -> list[Change]:
        """Key and value of many puts: as `put` for each, in less time."""
        store, changes, mod = self._store, self.changes, self._main
        newest, add_name = store._newest, store._live.add
        first, start = first_versions(mod), len(changes)
        size = 0
        for sub, request in enumerate(puts, start):
            key = request.key
            before = newest.get(key)
            prev = None
            if before is None:
                newest[key] = record = first(key, request.value, sub)
                add_name(key)
            else:
                prev = None if before.tombstone else before
                newest[key] = record = written(key, request.value, 0, mod, sub, prev)
                store._replace(record, before)
            size += len(record.encoded) + len(key)
            changes.append(Change(record, prev))
        done = changes[start:]
        store._log += [change.record for change in done]
        store.head = mod
        store.total_bytes += size
        return done

    def delete_range(self, key: bytes, end: bytes) -> list[Record]:
        doomed, _ = self._store.scan(key, end, self._main, 0)
        for prev in doomed:
            record = deleted(prev.key, self._main, len(self.changes))
            self._store._add(record, prev)
            self.changes.append(Change(record, prev))
        return doomed

    def end(self) -> list[Change]:
        if self.changes:
            self._store.revision = self._main
        return self.changes
