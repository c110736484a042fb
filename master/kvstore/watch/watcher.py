"""Watches, the groups that share a queue, and the streams that carry them. No I/O.

Watchers that want the same share one queue: an event is filtered and encoded once for all. A
stream says when it has something to send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kube.stubs.etcd import rpc_pb2
from master.kvstore.mvcc.records import varint
from master.kvstore.watch.queue import MAX_RESPONSE_BYTES, Batch, Queue
from master.kvstore.watch.wanted import Header, Wanted, body, revision_header

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
