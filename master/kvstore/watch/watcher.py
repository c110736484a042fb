"""One watch and one stream of watches. No I/O: a stream says when it has something to send."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from master.kvstore.mvcc.records import Change
from master.kvstore.mvcc.store import TO_THE_END
from muster.etcd import wire_pb2

# What one watcher may have waiting. Beyond it the watcher is not cancelled: it reads the
# history again when its client has taken what is there.
MAX_PENDING_EVENTS = 4096
MAX_PENDING_BYTES = 8 << 20
# One response holds whole revisions up to about this size; a client that allows fragments gets
# a larger revision in pieces.
MAX_RESPONSE_BYTES = 1_500_000


@dataclass(slots=True)
class Watcher:
    """A key range being watched. It is sent every event from `next_revision` on, once."""

    id: int
    key: bytes
    end: bytes
    next_revision: int
    stream: Stream
    prev_kv: bool = False
    progress_notify: bool = False
    fragment: bool = False
    no_put: bool = False
    no_delete: bool = False
    synced: bool = False
    sent_something: bool = False
    pending: deque[tuple[int, list[bytes], int]] = field(default_factory=deque)
    pending_events: int = 0
    pending_bytes: int = 0

    def wants(self, change: Change) -> bool:
        record = change.record
        if record.mod < self.next_revision:
            return False
        if self.no_delete if record.tombstone else self.no_put:
            return False
        if not self.end:
            return record.key == self.key
        return self.key <= record.key and (self.end == TO_THE_END or record.key < self.end)

    @property
    def full(self) -> bool:
        return self.pending_events >= MAX_PENDING_EVENTS or self.pending_bytes >= MAX_PENDING_BYTES

    def offer(self, revision: int, changes: Iterable[Change]) -> None:
        """Queue the events of one revision, all of them."""
        events = [change.event(prev_kv=self.prev_kv) for change in changes if self.wants(change)]
        self.next_revision = max(self.next_revision, revision + 1)
        if events:
            size = sum(map(len, events))
            self.pending.append((revision, events, size))
            self.pending_events += len(events)
            self.pending_bytes += size
            self.stream.has_events(self)

    def take(self) -> tuple[int, list[bytes]]:
        """The next whole revisions that fit into one response."""
        revision, events, total = self.pending.popleft()
        events = list(events)
        while self.pending and total + self.pending[0][2] <= MAX_RESPONSE_BYTES:
            revision, more, size = self.pending.popleft()
            events += more
            total += size
        self.pending_events -= len(events)
        self.pending_bytes -= total
        return revision, events


class Stream:
    """The watches of one client stream. `wake` is called when `take` has something to give."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.watchers: dict[int, Watcher] = {}
        self.closed = False
        self._wake = wake
        self._control: deque[wire_pb2.WatchResponse] = deque()
        self._with_events: dict[int, Watcher] = {}  # in turn, so that nobody is starved
        self._progress_wanted = False
        self._next_id = 0

    def free_id(self) -> int:
        while self._next_id in self.watchers:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def has_events(self, watcher: Watcher) -> None:
        self._with_events[watcher.id] = watcher
        self._wake()

    def say(self, response: wire_pb2.WatchResponse) -> None:
        self._control.append(response)
        self._wake()

    def drop(self, watcher: Watcher) -> None:
        self.watchers.pop(watcher.id, None)
        self._with_events.pop(watcher.id, None)

    def poke(self) -> None:
        """Something changed that may let `take` give more."""
        self._wake()

    def want_progress(self) -> None:
        self._progress_wanted = True
        self._wake()

    def take(self, revision: int) -> list[wire_pb2.WatchResponse]:
        """What to send next, at most one round of all watchers. Empty: nothing for now."""
        responses = list(self._control)
        self._control.clear()
        round_, self._with_events = self._with_events, {}
        for watcher in round_.values():
            responses += _event_responses(watcher)
            if watcher.pending:
                self._with_events[watcher.id] = watcher
        if self._progress_wanted and not self._with_events and self.all_synced:
            # Only now is it true that nothing up to `revision` is still to come.
            self._progress_wanted = False
            responses.append(progress(-1, revision))
        return responses

    @property
    def all_synced(self) -> bool:
        return all(watcher.synced for watcher in self.watchers.values())


def progress(watch_id: int, revision: int) -> wire_pb2.WatchResponse:
    response = wire_pb2.WatchResponse(watch_id=watch_id)
    response.header.revision = revision
    return response


def _event_responses(watcher: Watcher) -> list[wire_pb2.WatchResponse]:
    revision, events = watcher.take()
    watcher.sent_something = True
    chunks = list(_fragments(events)) if watcher.fragment else [events]
    responses = []
    for position, chunk in enumerate(chunks):
        response = wire_pb2.WatchResponse(
            watch_id=watcher.id, events=chunk, fragment=position < len(chunks) - 1
        )
        response.header.revision = revision
        responses.append(response)
    return responses


def _fragments(events: list[bytes]) -> Iterable[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for event in events:
        if chunk and size + len(event) > MAX_RESPONSE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(event)
        size += len(event)
    yield chunk
