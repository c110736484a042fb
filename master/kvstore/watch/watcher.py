"""One watch and one stream of watches. No I/O: a stream says when it has something to send."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kube.stubs.etcd import rpc_pb2
from master.kvstore.mvcc.records import varint
from master.kvstore.watch.group import Group, Header, Wanted, body, revision_header
from master.kvstore.watch.queue import MAX_RESPONSE_BYTES, Batch, Queue

# What one `take` gives, roughly. It is what a stream keeps while its client does not read.
_TAKE_BYTES = 256 << 10
_PROGRESS_AT_ONCE = 1000  # who asks faster than it reads is held up by its own window

# Fields of WatchResponse: 2, and 7 with `true`.
_WATCH_ID = b"\x10"
_FRAGMENT = b"\x38\x01"
_INT64 = (1 << 64) - 1  # a negative number is written as if it were a large one


@dataclass(slots=True, eq=False)
class Watcher:
    """A key range being watched. It is sent every event from `next_revision` on, once.

    While it is synced, its group's queue has what comes next for it. A watcher that is behind
    reads history into a queue of its own, the backlog, which goes first.
    """

    id: int
    wanted: Wanted
    next_revision: int  # of what is queued for it next
    stream: Stream
    progress_notify: bool = False
    fragment: bool = False
    group: Group | None = None
    place: int = 0
    backlog: Queue = field(default_factory=Queue)
    in_turn: bool = False
    sent_something: bool = False

    @property
    def synced(self) -> bool:
        return self.group is not None

    @property
    def pending(self) -> bool:
        if self.backlog.batches:
            return True
        return self.group is not None and self.place < self.group.queue.end

    def read(self, batch: Batch) -> None:
        """A piece of history."""
        self.next_revision = max(self.next_revision, batch.revision + 1)
        if batch.events:
            self.backlog.append(batch)
            self.stream.take_turn(self)

    def responses(self, header: Header) -> list[bytes]:
        """The next whole revisions that fit into one response; in pieces where that is allowed."""
        if self.backlog.batches:
            number, batch = self.backlog.gather(self.backlog.first)
            self.backlog.drop_until(number)
            data = b""
        elif self.group is not None and self.place < self.group.queue.end:
            batch, data = self.group.take(self)
        else:
            return []
        self.sent_something = True
        prefix = _WATCH_ID + varint(self.id & _INT64)
        if self.fragment and batch.size > MAX_RESPONSE_BYTES:
            return [prefix + piece for piece in _fragments(header, batch)]
        return [prefix + (data or body(header, batch))]


class Stream:
    """The watches of one client stream. `wake` is called when `take` has something to give."""

    def __init__(self, wake: Callable[[], None], header: Header = revision_header) -> None:
        self.watchers: dict[int, Watcher] = {}
        self.behind: dict[int, Watcher] = {}  # those that are not synced
        # Ids of those that a compaction has ended. As in etcd they are taken until they are
        # cancelled, which is answered once more.
        self.compacted: set[int] = set()
        self.closed = False
        self._wake = wake
        self._header = header
        self._control: list[bytes] = []
        self._news: dict[Group, None] = {}
        self._turns: deque[Watcher] = deque()  # in turn, so that nobody is starved
        self._progress_wanted = 0  # how often; each is answered
        self._next_id = 0

    def free_id(self) -> int:
        while self.taken(self._next_id):
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def taken(self, watch_id: int) -> bool:
        return watch_id in self.watchers or watch_id in self.compacted

    def has_news(self, group: Group) -> None:
        """There is more for its watchers in that group."""
        if group not in self._news:
            self._news[group] = None
            self._wake()

    def take_turn(self, watcher: Watcher) -> None:
        if not watcher.in_turn:
            watcher.in_turn = True
            self._turns.append(watcher)
            self._wake()

    def say(self, response: rpc_pb2.WatchResponse) -> None:
        self._control.append(response.SerializeToString())
        self._wake()

    def drop(self, watcher: Watcher) -> None:
        self.watchers.pop(watcher.id, None)
        self.behind.pop(watcher.id, None)

    def poke(self) -> None:
        """Something changed that may let `take` give more."""
        self._wake()

    def want_progress(self) -> None:
        self._progress_wanted += 1
        self._wake()

    def take(self, revision: int) -> list[bytes]:
        """What to send next, at most one round of all watchers. Empty: nothing for now."""
        out, self._control = self._control, []
        for group in self._news:
            for watcher in group.members.get(self, {}).values():
                self.take_turn(watcher)
        self._news.clear()
        size = 0
        for _ in range(len(self._turns)):
            if size >= _TAKE_BYTES:
                return out
            watcher = self._turns.popleft()
            watcher.in_turn = False
            if self.watchers.get(watcher.id) is not watcher:
                continue  # cancelled
            responses = watcher.responses(self._header)
            out += responses
            size += sum(map(len, responses))
            if watcher.pending:
                self.take_turn(watcher)
        if self._progress_wanted and not self._turns and self.all_synced:
            # Only now is it true that nothing up to `revision` is still to come.
            answer = progress(-1, self._header(revision)).SerializeToString()
            now = min(self._progress_wanted, _PROGRESS_AT_ONCE)
            out += [answer] * now
            self._progress_wanted -= now
        return out

    @property
    def all_synced(self) -> bool:
        return not self.behind


def progress(watch_id: int, header: bytes) -> rpc_pb2.WatchResponse:
    response = rpc_pb2.WatchResponse(watch_id=watch_id)
    response.MergeFromString(header)
    return response


def _fragments(header: Header, batch: Batch) -> Iterator[bytes]:
    chunks = list(_chunks(batch))
    for chunk in chunks[:-1]:
        yield _FRAGMENT + body(header, chunk)
    yield body(header, chunks[-1])


def _chunks(batch: Batch) -> Iterator[Batch]:
    chunk: list[bytes] = []
    size = 0
    for event in batch.events:
        if chunk and size + len(event) > MAX_RESPONSE_BYTES:
            yield Batch(batch.revision, chunk, size)
            chunk, size = [], 0
        chunk.append(event)
        size += len(event)
    yield Batch(batch.revision, chunk, size)
