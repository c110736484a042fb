"""All watches of a member: new changes go to those who are synced, the others catch up.

etcd's watch guarantees (ordered, unique, reliable, atomic, resumable, bookmarkable) rest on one
number per watcher, `next_revision`, which moves only when events are queued for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from master.kvstore.mvcc.records import Change
from master.kvstore.mvcc.store import TO_THE_END, Mvcc
from master.kvstore.watch.watcher import Stream, Watcher, progress
from muster.etcd import rpc_pb2, wire_pb2

_CATCH_UP_CHANGES = 5000  # looked at in one go, for one watcher
_Create = rpc_pb2.WatchCreateRequest


class Hub:
    """Watchers by what they watch, so that a change looks at each distinct range once."""

    def __init__(self, store: Mvcc) -> None:
        self.store = store
        self.events_sent = 0
        self.slow = 0  # how often a watcher fell behind its queue
        self._by_key: dict[bytes, dict[int, Watcher]] = {}
        self._by_range: dict[tuple[bytes, bytes], dict[int, Watcher]] = {}
        self.streams: set[Stream] = set()

    # --- requests of clients

    def create(self, stream: Stream, request: rpc_pb2.WatchCreateRequest) -> None:
        """Answer with `created`; events follow. A bad request is answered created and canceled."""
        key = request.key or TO_THE_END
        if request.range_end and request.range_end != TO_THE_END and request.range_end <= key:
            self.refuse(stream, "mvcc: watcher range is empty")
            return
        if request.watch_id and request.watch_id in stream.watchers:
            self.refuse(stream, "mvcc: duplicate watch ID provided on the WatchStream")
            return
        watch_id = request.watch_id or stream.free_id()
        watcher = Watcher(
            watch_id,
            key,
            request.range_end,
            request.start_revision or self.store.revision + 1,
            stream,
            prev_kv=request.prev_kv,
            progress_notify=request.progress_notify,
            fragment=request.fragment,
            no_put=_Create.NOPUT in request.filters,
            no_delete=_Create.NODELETE in request.filters,
        )
        stream.watchers[watch_id] = watcher
        self.streams.add(stream)
        stream.say(self._about(watcher, created=True))
        if watcher.next_revision > self.store.revision:
            self._register(watcher)

    def cancel(self, stream: Stream, watch_id: int) -> None:
        watcher = stream.watchers.get(watch_id)
        if watcher is not None:
            self._remove(watcher)
            stream.say(self._about(watcher, canceled=True))

    def close(self, stream: Stream) -> None:
        stream.closed = True
        self.streams.discard(stream)
        for watcher in list(stream.watchers.values()):
            self._remove(watcher)

    # --- what the state machine tells

    def changed(self, changes: Sequence[Change]) -> None:
        """One revision's changes were applied. Costs its watchers, never waits for a client."""
        revision = changes[0].record.mod
        touched: dict[int, tuple[Watcher, list[Change]]] = {}
        for change in changes:
            for watcher in self._interested(change.record.key):
                touched.setdefault(id(watcher), (watcher, []))[1].append(change)
        for watcher, theirs in touched.values():
            if watcher.full:
                self.slow += 1
                watcher.next_revision = max(watcher.next_revision, revision)
                self._desync(watcher)
            else:
                watcher.offer(revision, theirs)

    def _interested(self, key: bytes) -> list[Watcher]:
        found = list(self._by_key.get(key, {}).values())
        for (start, end), watchers in self._by_range.items():
            if start <= key and (end == TO_THE_END or key < end):
                found += watchers.values()
        return found

    def replaced(self, store: Mvcc) -> None:
        """A snapshot took the state's place: everybody continues from the new history."""
        told = self.store.revision
        self.store = store
        for stream in self.streams:
            for watcher in stream.watchers.values():
                if watcher.synced:
                    watcher.next_revision = max(watcher.next_revision, told + 1)
                    self._desync(watcher)
            stream.poke()

    def catch_up(self, stream: Stream) -> None:
        """Give each watcher of `stream` that is behind its next piece of history."""
        for watcher in list(stream.watchers.values()):
            if not watcher.synced and not watcher.full:
                self._catch_up(watcher)

    def watching(self) -> int:
        return sum(len(stream.watchers) for stream in self.streams)

    def notify_progress(self) -> None:
        """The periodic progress of those who asked for it and had no event since the last."""
        for stream in self.streams:
            for watcher in stream.watchers.values():
                if watcher.progress_notify and watcher.synced and not watcher.pending:
                    if not watcher.sent_something:
                        stream.say(progress(watcher.id, self.store.revision))
                    watcher.sent_something = False

    # --- inside

    def _catch_up(self, watcher: Watcher) -> None:
        if watcher.next_revision < self.store.compacted:
            self._remove(watcher)
            response = self._about(watcher, canceled=True)
            response.compact_revision = self.store.compacted
            watcher.stream.say(response)
            return
        budget = _CATCH_UP_CHANGES
        revision = 0
        batch: list[Change] = []
        for change in self.store.changes_from(watcher.next_revision, self.store.revision):
            if change.record.mod != revision:
                if batch:
                    watcher.offer(revision, batch)
                if budget <= 0 or watcher.full:
                    return
                revision, batch = change.record.mod, []
            batch.append(change)
            budget -= 1
        if batch:
            watcher.offer(revision, batch)
        watcher.next_revision = max(watcher.next_revision, self.store.revision + 1)
        self._register(watcher)

    def _register(self, watcher: Watcher) -> None:
        watcher.synced = True
        self._place(watcher)[id(watcher)] = watcher

    def _place(self, watcher: Watcher) -> dict[int, Watcher]:
        if not watcher.end:
            return self._by_key.setdefault(watcher.key, {})
        return self._by_range.setdefault((watcher.key, watcher.end), {})

    def _unregister(self, watcher: Watcher) -> None:
        place = self._place(watcher)
        place.pop(id(watcher), None)
        if not place:
            if watcher.end:
                del self._by_range[(watcher.key, watcher.end)]
            else:
                del self._by_key[watcher.key]

    def _desync(self, watcher: Watcher) -> None:
        if watcher.synced:
            self._unregister(watcher)
        watcher.synced = False
        watcher.stream.poke()

    def _remove(self, watcher: Watcher) -> None:
        watcher.stream.drop(watcher)
        if watcher.synced:
            self._unregister(watcher)

    def _about(
        self, watcher: Watcher, *, created: bool = False, canceled: bool = False
    ) -> wire_pb2.WatchResponse:
        response = wire_pb2.WatchResponse(watch_id=watcher.id, created=created, canceled=canceled)
        response.header.revision = self.store.revision
        return response

    def refuse(self, stream: Stream, reason: str) -> None:
        """Created and cancelled at once: etcd's way to say that it will not."""
        response = wire_pb2.WatchResponse(
            watch_id=-1, created=True, canceled=True, cancel_reason=reason
        )
        response.header.revision = self.store.revision
        stream.say(response)
