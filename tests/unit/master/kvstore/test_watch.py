"""Watches: multiplexing, filters, fragments, slow clients, progress, compaction."""

from __future__ import annotations

import pytest

from kube.stubs.etcd import command_pb2, kv_pb2, rpc_pb2
from master.kvstore.machine import Machine
from master.kvstore.watch import queue
from master.kvstore.watch.hub import Hub
from master.kvstore.watch.watcher import Stream

Create = rpc_pb2.WatchCreateRequest


class Member:
    """A state machine with its hub, and what one client stream receives."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.hub = Hub(self.machine.mvcc)

    def apply(self, **request: object) -> int:
        command = command_pb2.Command(**request)
        applied = self.machine.apply(command.SerializeToString())
        assert applied.error is None
        if applied.changes:
            self.hub.changed(applied.changes)
        return self.machine.mvcc.revision

    def put(self, key: bytes, value: bytes = b"v") -> int:
        return self.apply(put=rpc_pb2.PutRequest(key=key, value=value))

    def delete(self, key: bytes) -> int:
        return self.apply(delete_range=rpc_pb2.DeleteRangeRequest(key=key))

    def compact(self, revision: int) -> None:
        self.apply(compaction=rpc_pb2.CompactionRequest(revision=revision))

    def take(self, stream: Stream) -> list[rpc_pb2.WatchResponse]:
        out = []
        while True:
            self.hub.catch_up(stream)
            batch = stream.take(self.machine.mvcc.revision)
            out += [rpc_pb2.WatchResponse.FromString(r) for r in batch]
            if not batch and stream.all_synced:
                return out


@pytest.fixture
def member() -> Member:
    return Member()


def new_stream() -> Stream:
    return Stream(lambda: None)


def keys(responses: list[rpc_pb2.WatchResponse]) -> list[bytes]:
    return [event.kv.key for response in responses for event in response.events]


def test_created_first_then_events_then_canceled(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"a", range_end=b"b"))
    member.put(b"a1")
    member.put(b"b1")
    first, second = member.take(stream)
    assert (first.created, first.watch_id, second.watch_id) == (True, 0, 0)
    assert keys([second]) == [b"a1"]
    member.hub.cancel(stream, 0)
    member.put(b"a2")
    (last,) = member.take(stream)
    assert (last.canceled, list(last.events)) == (True, [])


def test_many_watches_on_one_stream(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"a"))
    member.hub.create(stream, Create(key=b"\0", range_end=b"\0", watch_id=9))
    member.hub.create(stream, Create(key=b"a", watch_id=9))
    member.hub.create(stream, Create(key=b"b", range_end=b"a"))
    created = member.take(stream)
    assert [(r.watch_id, r.canceled) for r in created] == [
        (0, False),
        (9, False),
        (-1, True),
        (-1, True),
    ]
    assert "duplicate" in created[2].cancel_reason
    member.put(b"a")
    assert sorted(r.watch_id for r in member.take(stream)) == [0, 9]


def test_a_client_may_choose_any_number(member: Member) -> None:
    stream = new_stream()
    for watch_id in (-7, 1 << 62):
        member.hub.create(stream, Create(key=b"a", watch_id=watch_id))
    member.take(stream)
    member.put(b"a")
    assert [r.watch_id for r in member.take(stream)] == [-7, 1 << 62]


def test_from_a_past_revision_with_previous_values(member: Member) -> None:
    start = member.put(b"k", b"1")
    member.put(b"k", b"2")
    member.delete(b"k")
    member.put(b"k", b"3")
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k", start_revision=start, prev_kv=True))
    events = [event for response in member.take(stream) for event in response.events]
    assert [(e.type, e.kv.value, e.prev_kv.value) for e in events] == [
        (kv_pb2.Event.PUT, b"1", b""),
        (kv_pb2.Event.PUT, b"2", b"1"),
        (kv_pb2.Event.DELETE, b"", b"2"),
        (kv_pb2.Event.PUT, b"3", b""),
    ]


@pytest.mark.parametrize(("start", "heard"), [(0, [b"2"]), (-1, [b"2"]), (1, [b"1", b"2"])])
def test_from_now_on_and_from_the_first_revision(
    member: Member, start: int, heard: list[bytes]
) -> None:
    member.put(b"k", b"1")
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k", start_revision=start))
    responses = member.take(stream)
    member.put(b"k", b"2")
    responses += member.take(stream)
    assert [event.kv.value for r in responses for event in r.events] == heard


def test_filters(member: Member) -> None:
    puts, deletes = new_stream(), new_stream()
    member.hub.create(puts, Create(key=b"k", filters=[Create.NODELETE]))
    member.hub.create(deletes, Create(key=b"k", filters=[Create.NOPUT]))
    member.put(b"k")
    member.delete(b"k")
    assert [e.type for r in member.take(puts) for e in r.events] == [kv_pb2.Event.PUT]
    assert [e.type for r in member.take(deletes) for e in r.events] == [kv_pb2.Event.DELETE]


def test_a_future_start_waits_for_its_revision(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k", start_revision=4))
    for _ in range(4):
        member.put(b"k")
    events = [event for response in member.take(stream) for event in response.events]
    assert [event.kv.mod_revision for event in events] == [4, 5]


def test_events_of_one_revision_stay_together(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"\0", range_end=b"\0"))
    member.take(stream)
    ops = [
        rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"%03d" % i, value=b"x" * 30_000))
        for i in range(100)
    ]
    member.apply(txn=rpc_pb2.TxnRequest(success=ops))
    (response,) = member.take(stream)
    assert len(response.events) == 100
    member.hub.create(stream, Create(key=b"\0", range_end=b"\0", start_revision=1))
    _, response = member.take(stream)
    assert len(response.events) == 100, "also where it is read from history"


def test_who_comes_later_hears_nothing_of_before(member: Member) -> None:
    """Though others that want the same have not taken it yet."""
    early, late = new_stream(), new_stream()
    member.hub.create(early, Create(key=b"k"))
    member.put(b"k", b"before")
    member.hub.create(late, Create(key=b"k"))
    member.put(b"k", b"after")
    values = [[e.kv.value for r in member.take(s) for e in r.events] for s in (early, late)]
    assert values == [[b"before", b"after"], [b"after"]]


def test_fragments_split_a_large_revision(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"\0", range_end=b"\0", fragment=True))
    member.take(stream)
    ops = [
        rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"%03d" % i, value=b"x" * 30_000))
        for i in range(100)
    ]
    member.apply(txn=rpc_pb2.TxnRequest(success=ops))
    responses = member.take(stream)
    assert len(responses) > 1
    assert [r.fragment for r in responses] == [True] * (len(responses) - 1) + [False]
    assert keys(responses) == [b"%03d" % i for i in range(100)]


def test_a_slow_client_loses_nothing_and_slows_nobody(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_PENDING_EVENTS", 10)
    slow, quick = new_stream(), new_stream()
    for stream in (slow, quick):
        member.hub.create(stream, Create(key=b"\0", range_end=b"\0"))
    got: list[bytes] = []
    for number in range(100):
        member.put(b"%03d" % number)
        got += keys(member.take(quick))
    watcher = slow.watchers[0]
    assert not watcher.synced, "it was given up on"
    assert not watcher.pending, "so nothing is kept for it"
    everything = [b"%03d" % number for number in range(100)]
    assert got == everything
    assert keys(member.take(slow)) == everything
    member.put(b"after")
    assert keys(member.take(slow)) == [b"after"]


def test_what_all_watchers_have_taken_is_kept_for_nobody(member: Member) -> None:
    one, other = new_stream(), new_stream()
    for stream in (one, one, other):
        member.hub.create(stream, Create(key=b"k"))
    group = one.watchers[0].group
    assert group is not None
    assert group is other.watchers[0].group, "who wants the same shares a queue"
    member.put(b"k", b"1")
    member.hub.cancel(one, 1)
    assert keys(member.take(one)) == [b"k"]
    member.put(b"k", b"2")
    assert [r.events[0].kv.value for r in member.take(one) if r.events] == [b"2"]
    assert len(group.queue.batches) == 2, "the other stream has taken nothing"
    (response,) = [r for r in member.take(other) if r.events]
    assert [event.kv.value for event in response.events] == [b"1", b"2"]
    assert not group.queue.batches


def test_a_snapshot_in_the_place_of_the_state_loses_and_repeats_nothing(member: Member) -> None:
    """What was queued is still sent; what the snapshot brings comes from its history."""
    stream = new_stream()
    member.hub.create(stream, Create(key=b"\0", range_end=b"\0"))
    member.hub.create(stream, Create(key=b"c", start_revision=5))
    for key in (b"a", b"b"):
        member.put(key)
    ahead = Member()
    for key in (b"a", b"b", b"c", b"c"):
        ahead.put(key)
    member.machine = ahead.machine
    member.hub.replaced(ahead.machine.mvcc)
    member.put(b"d")
    seen = [
        (response.watch_id, event.kv.mod_revision)
        for response in member.take(stream)
        for event in response.events
    ]
    assert sorted(seen) == [(0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 5)]


def test_a_slow_client_whose_history_is_gone_is_told(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MAX_PENDING_EVENTS", 3)
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k"))
    for _ in range(20):
        member.put(b"k")
    member.compact(15)
    responses = member.take(stream)
    assert responses[-1].canceled
    assert responses[-1].compact_revision == 15


def test_the_number_of_a_compacted_watch_is_taken_until_it_is_cancelled(member: Member) -> None:
    for _ in range(3):
        member.put(b"k")
    member.compact(3)
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k", start_revision=1, watch_id=7))
    assert [r.compact_revision for r in member.take(stream)] == [0, 3]
    member.hub.create(stream, Create(key=b"k", watch_id=7))
    (refused,) = member.take(stream)
    assert "duplicate" in refused.cancel_reason
    for _ in range(2):
        member.hub.cancel(stream, 7)
    (canceled,) = member.take(stream)
    assert (canceled.watch_id, canceled.canceled) == (7, True)
    member.hub.create(stream, Create(key=b"k", watch_id=7))
    assert [r.created for r in member.take(stream)] == [True]


def test_starting_at_the_compaction_itself_is_allowed(member: Member) -> None:
    member.put(b"k")
    member.put(b"k")
    at = member.delete(b"k")
    member.compact(at)
    good, bad = new_stream(), new_stream()
    member.hub.create(good, Create(key=b"k", start_revision=at))
    member.hub.create(bad, Create(key=b"k", start_revision=at - 1))
    events = [event for response in member.take(good) for event in response.events]
    assert [(e.type, e.kv.mod_revision) for e in events] == [(kv_pb2.Event.DELETE, at)]
    created, canceled = member.take(bad)
    assert created.created
    assert (canceled.canceled, canceled.compact_revision) == (True, at)


def test_progress_on_request_comes_after_all_events(member: Member) -> None:
    """It promises that everything up to its revision has been sent on this stream."""
    start = member.put(b"k")
    for _ in range(5):
        member.put(b"k")
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k", start_revision=start))
    member.hub.create(stream, Create(key=b"other"))
    stream.want_progress()
    assert all(rpc_pb2.WatchResponse.FromString(r).watch_id != -1 for r in stream.take(0)), (
        "not while one is behind"
    )
    responses = member.take(stream)
    assert responses[-1].watch_id == -1
    assert responses[-1].header.revision == member.machine.mvcc.revision
    assert not responses[-1].events


def test_each_request_for_progress_is_answered(member: Member) -> None:
    stream = new_stream()
    stream.want_progress()
    stream.want_progress()
    assert [r.watch_id for r in member.take(stream)] == [-1, -1]
    assert member.take(stream) == []


def test_a_flood_of_requests_for_progress_is_answered_in_pieces() -> None:
    stream = new_stream()
    for _ in range(2500):
        stream.want_progress()
    rounds = [len(stream.take(0)) for _ in range(4)]
    assert rounds == [1000, 1000, 500, 0]


def test_periodic_progress_for_those_who_are_idle(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"idle", progress_notify=True))
    member.hub.create(stream, Create(key=b"busy", progress_notify=True))
    revision = member.put(b"busy")
    member.take(stream)
    member.hub.notify_progress()
    (response,) = member.take(stream)
    assert (response.watch_id, response.header.revision, len(response.events)) == (0, revision, 0)


def test_a_closed_stream_is_forgotten(member: Member) -> None:
    stream = new_stream()
    member.hub.create(stream, Create(key=b"k"))
    member.hub.create(stream, Create(key=b"a", range_end=b"b"))
    member.hub.close(stream)
    assert member.hub.watching() == 0
    member.put(b"k")
    assert not stream.watchers
