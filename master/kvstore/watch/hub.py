"""All watches of a member: new changes go to those who are synced, the others catch up.

etcd's watch guarantees (ordered, unique, reliable, atomic, resumable, bookmarkable) rest on one
number per watcher, `next_revision`, which moves only when events are queued for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kube.stubs.etcd import rpc_pb2
from master.kvstore.mvcc.records import Change
from master.kvstore.mvcc.store import TO_THE_END, Mvcc
from master.kvstore.watch.wanted import Header, Wanted, revision_header
from master.kvstore.watch.watcher import Group, Stream, Watcher, progress

_CATCH_UP_CHANGES = 5000  # looked at in one go, for one watcher
_Create = rpc_pb2.WatchCreateRequest


class Hub:
    """Watchers by what they watch, so that a change looks at each distinct range once."""

    def __init__(self, store: Mvcc, header: Header = revision_header) -> None:
        self.store = store
        self._header = header
        self.slow = 0  # how often a watcher fell behind its queue
        self._by_key: dict[bytes, dict[Wanted, Group]] = {}
        self._by_range: dict[tuple[bytes, bytes], dict[Wanted, Group]] = {}
        self.streams: set[Stream] = set()

    # --- requests of clients

    def create(self, stream: Stream, request: rpc_pb2.WatchCreateRequest) -> None:
        """Answer with `created`; events follow. A bad request is answered created and canceled."""
        key = request.key or TO_THE_END
        if request.range_end and request.range_end != TO_THE_END and request.range_end <= key:
            self.refuse(stream, "mvcc: watcher range is empty")
            return
        if request.watch_id and stream.taken(request.watch_id):
            self.refuse(stream, "mvcc: duplicate watch ID provided on the WatchStream")
            return
        watch_id = request.watch_id or stream.free_id()
        first = request.start_revision or self.store.revision + 1
        if first == self.store.compacted == -1:
            first = self.store.revision + 1  # nothing is compacted: etcd finds no history there
        wanted = Wanted(
            key,
            request.range_end,
            prev_kv=request.prev_kv,
            no_put=_Create.NOPUT in request.filters,
            no_delete=_Create.NODELETE in request.filters,
            start=first if first > self.store.revision + 1 else 0,
        )
        watcher = Watcher(
            watch_id,
            wanted,
            first,
            stream,
            progress_notify=request.progress_notify,
            fragment=request.fragment,
        )
        stream.watchers[watch_id] = watcher
        self.streams.add(stream)
        stream.say(self._about(watch_id, created=True))
        if watcher.next_revision > self.store.revision:
            self._register(watcher)
        else:
            stream.behind[watch_id] = watcher

    def cancel(self, stream: Stream, watch_id: int) -> None:
        watcher = stream.watchers.get(watch_id)
        if watcher is not None:
            self._remove(watcher)
        elif watch_id in stream.compacted:
            stream.compacted.remove(watch_id)
        else:
            return
        stream.say(self._about(watch_id, canceled=True))

    def close(self, stream: Stream) -> None:
        stream.closed = True
        self.streams.discard(stream)
        for watcher in list(stream.watchers.values()):
            self._remove(watcher)

    # --- what the state machine tells

    def changed(self, changes: Sequence[Change]) -> None:
        """One revision's changes were applied. Costs its watchers, never waits for a client."""
        if not self._by_key and not self._by_range:
            return
        revision = changes[0].record.mod
        touched: dict[Group, list[Change]] = {}
        for change in changes:
            for group in self._interested(change.record.key):
                touched.setdefault(group, []).append(change)
        for group, theirs in touched.items():
            batch = group.wanted.batch(revision, theirs)
            if batch.events:
                for watcher in group.offer(batch):
                    self.slow += 1
                    self._desync(watcher)

    def _interested(self, key: bytes) -> list[Group]:
        groups = self._by_key.get(key)
        found = list(groups.values()) if groups else []
        for (start, end), groups in self._by_range.items():
            if start <= key and (end == TO_THE_END or key < end):
                found += groups.values()
        return found

    def replaced(self, store: Mvcc) -> None:
        """A snapshot took the state's place: everybody continues from the new history."""
        told = self.store.revision
        self.store = store
        for stream in self.streams:
            for watcher in stream.watchers.values():
                if watcher.group is not None:
                    for batch in watcher.group.skip(watcher):
                        watcher.read(batch)
                    watcher.next_revision = max(watcher.next_revision, told + 1)
                    self._desync(watcher)
            stream.poke()

    def catch_up(self, stream: Stream) -> None:
        """Give each watcher of `stream` that is behind its next piece of history."""
        for watcher in list(stream.behind.values()):
            if not watcher.backlog.full:
                self._catch_up(watcher)

    def watching(self) -> int:
        return sum(len(stream.watchers) for stream in self.streams)

    def notify_progress(self) -> None:
        """The periodic progress of those who asked for it and had no event since the last."""
        for stream in self.streams:
            for watcher in stream.watchers.values():
                if watcher.progress_notify and watcher.synced and not watcher.pending:
                    if not watcher.sent_something:
                        stream.say(progress(watcher.id, self._header(self.store.revision)))
                    watcher.sent_something = False

    # --- inside

    def _catch_up(self, watcher: Watcher) -> None:
        if watcher.next_revision < self.store.compacted:
            self._remove(watcher)
            watcher.stream.compacted.add(watcher.id)
            response = self._about(watcher.id, canceled=True)
            response.header.revision = 0  # as in etcd: there is nothing to resume from
            response.compact_revision = self.store.compacted
            watcher.stream.say(response)
            return
        budget = _CATCH_UP_CHANGES
        revision = 0
        changes: list[Change] = []
        for change in self.store.changes_from(watcher.next_revision, self.store.revision):
            if change.record.mod != revision:
                if changes:
                    watcher.read(watcher.wanted.batch(revision, changes))
                if budget <= 0 or watcher.backlog.full:
                    return
                revision, changes = change.record.mod, []
            changes.append(change)
            budget -= 1
        if changes:
            watcher.read(watcher.wanted.batch(revision, changes))
        watcher.next_revision = max(watcher.next_revision, self.store.revision + 1)
        self._register(watcher)

    def _register(self, watcher: Watcher) -> None:
        """It has all that was; from now on it hears with its group."""
        watcher.stream.behind.pop(watcher.id, None)
        groups = self._groups(watcher.wanted)
        group = groups.get(watcher.wanted)
        if group is None:
            group = groups[watcher.wanted] = Group(watcher.wanted, self._header)
        group.join(watcher)

    def _groups(self, wanted: Wanted) -> dict[Wanted, Group]:
        if not wanted.end:
            return self._by_key.setdefault(wanted.key, {})
        return self._by_range.setdefault((wanted.key, wanted.end), {})

    def _unregister(self, watcher: Watcher) -> None:
        group, wanted = watcher.group, watcher.wanted
        if group is None:
            return
        group.leave(watcher)
        if group.members:
            return
        groups = self._groups(wanted)
        del groups[wanted]
        if not groups:
            if wanted.end:
                del self._by_range[(wanted.key, wanted.end)]
            else:
                del self._by_key[wanted.key]

    def _desync(self, watcher: Watcher) -> None:
        self._unregister(watcher)
        watcher.stream.behind[watcher.id] = watcher
        watcher.stream.poke()

    def _remove(self, watcher: Watcher) -> None:
        watcher.stream.drop(watcher)
        self._unregister(watcher)

    def _about(
        self, watch_id: int, *, created: bool = False, canceled: bool = False
    ) -> rpc_pb2.WatchResponse:
        response = rpc_pb2.WatchResponse(watch_id=watch_id, created=created, canceled=canceled)
        response.MergeFromString(self._header(self.store.revision))
        return response

    def refuse(self, stream: Stream, reason: str) -> None:
        """Created and cancelled at once: etcd's way to say that it will not."""
        response = rpc_pb2.WatchResponse(
            watch_id=-1, created=True, canceled=True, cancel_reason=reason
        )
        response.MergeFromString(self._header(self.store.revision))
        stream.say(response)
