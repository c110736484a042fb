"""Watchers that want the same share one queue: an event is filtered and encoded once for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from master.kvstore.mvcc.records import Change, field, varint
from master.kvstore.mvcc.store import TO_THE_END
from master.kvstore.watch.queue import Batch, Queue

if TYPE_CHECKING:
    from master.kvstore.watch.watcher import Stream, Watcher

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


class Group:
    """The synced watchers of one `Wanted`. Each has a place in the queue, `watcher.place`."""

    def __init__(self, wanted: Wanted, header: Header) -> None:
        self.wanted = wanted
        self.queue = Queue()
        self.members: dict[Stream, dict[int, Watcher]] = {}
        self._header = header
        self._size = 0
        self._behind = 0  # members that have not taken everything
        # By place: the place after it, what is between, and that as a body.
        self._bodies: dict[int, tuple[int, Batch, bytes]] = {}

    def join(self, watcher: Watcher) -> None:
        """From now on; what was before is somebody else's."""
        self.members.setdefault(watcher.stream, {})[watcher.id] = watcher
        self._size += 1
        watcher.group, watcher.place = self, self.queue.end

    def leave(self, watcher: Watcher) -> None:
        theirs = self.members[watcher.stream]
        del theirs[watcher.id]
        if not theirs:
            del self.members[watcher.stream]
        self._size -= 1
        watcher.group = None
        if watcher.place < self.queue.end:
            self._caught_up()

    def offer(self, batch: Batch) -> list[Watcher]:
        """Queue it for all. Returns those who were too far behind: it is not queued for them, and
        they must leave."""
        laggards = self._make_room() if self.queue.full else []
        self.queue.append(batch)
        self._behind = self._size
        self._bodies.clear()
        for stream in self.members:
            stream.has_news(self)
        return laggards

    def take(self, watcher: Watcher) -> tuple[Batch, bytes]:
        """What comes next for one who is behind, and its body."""
        known = self._bodies.get(watcher.place)
        if known is None:
            place, batch = self.queue.gather(watcher.place)
            known = place, batch, body(self._header, batch)
            self._bodies[watcher.place] = known
        watcher.place, batch, data = known
        if watcher.place == self.queue.end:
            self._caught_up()
        return batch, data

    def skip(self, watcher: Watcher) -> list[Batch]:
        """Everything that it has not taken yet, at once."""
        rest = self.queue.since(watcher.place)
        if rest:
            watcher.place = self.queue.end
            self._caught_up()
        return rest

    def _caught_up(self) -> None:
        self._behind -= 1
        if not self._behind:
            self.queue.drop_until(self.queue.end)
            self._bodies.clear()

    def _make_room(self) -> list[Watcher]:
        """Give up on the slower ones, so that at most half of the queue is still wanted."""
        middle = self.queue.first + (len(self.queue.batches) - 1) // 2
        everybody = [w for theirs in self.members.values() for w in theirs.values()]
        laggards = [watcher for watcher in everybody if watcher.place <= middle]
        for watcher in laggards:
            lost = self.queue.batches[watcher.place - self.queue.first]
            watcher.next_revision = max(watcher.next_revision, lost.revision)
        rest = [watcher.place for watcher in everybody if watcher.place > middle]
        self.queue.drop_until(min(rest, default=self.queue.end))
        return laggards
