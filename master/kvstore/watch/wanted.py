"""What a watcher asked for, and the responses that it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from master.kvstore.mvcc.records import Change, field, varint
from master.kvstore.mvcc.store import TO_THE_END
from master.kvstore.watch.queue import Batch

# The header field of a response, encoded, that says this revision.
Header = Callable[[int], bytes]
_EVENT = b"\x5a"  # WatchResponse.events: field 11


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a watcher is to hear of: from revision `start` on (0: from now on)."""

    key: bytes
    end: bytes
    prev_kv: bool = False
    no_put: bool = False
    no_delete: bool = False
    start: int = 0

    def includes(self, change: Change) -> bool:
        record = change.record
        if record.mod < self.start or (self.no_delete if record.tombstone else self.no_put):
            return False
        if not self.end:
            return record.key == self.key
        return self.key <= record.key and (self.end == TO_THE_END or record.key < self.end)

    def batch(self, revision: int, changes: Iterable[Change]) -> Batch:
        """The events of one revision that are wanted, all of them."""
        return Batch.of(
            revision,
            [
                field(_EVENT, change.event(prev_kv=self.prev_kv))
                for change in changes
                if self.includes(change)
            ],
        )


def revision_header(revision: int) -> bytes:
    """Of a store that has no name."""
    return field(b"\x0a", b"\x18" + varint(revision))


def body(header: Header, batch: Batch) -> bytes:
    """A response without its watch_id, which alone differs between watchers."""
    return header(batch.revision) + b"".join(batch.events)
