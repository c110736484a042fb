"""The key-value state against a model that keeps every revision as a plain dictionary."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kube.stubs.etcd import command_pb2, kv_pb2, rpc_pb2
from master.kvstore import state
from master.kvstore.bolt.reader import Database
from master.kvstore.errors import Compacted, FutureRevision
from master.kvstore.machine import Machine
from master.kvstore.mvcc import ranges
from master.kvstore.mvcc.records import Change, Record, written
from master.kvstore.raft.messages import SnapshotMeta
from master.kvstore.watch.hub import Hub
from master.kvstore.watch.watcher import Stream

KEYS = [b"a", b"b", b"ba", b"bb", b"c", b"\xff"]
keys = st.sampled_from(KEYS)
ends = st.sampled_from([b"", b"\0", b"b", b"bb", b"c", b"\xff\xff"])
values = st.sampled_from([b"", b"1", b"2", b"3"])


@dataclass(frozen=True)
class Kv:
    create: int
    mod: int
    version: int
    value: bytes


def in_range(key: bytes, start: bytes, end: bytes) -> bool:
    if not end:
        return key == start
    return start <= key and (end == b"\0" or key < end)


def command(**request: object) -> bytes:
    return command_pb2.Command(**request).SerializeToString()


class MvccModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.history: dict[int, dict[bytes, Kv]] = {1: {}}
        self.revision = 1
        self.compacted = -1
        self.hub = Hub(self.machine.mvcc)
        self.stream = Stream(lambda: None)
        self.seen: list[kv_pb2.Event] = []
        self.expected: list[tuple[int, bytes, int]] = []
        self.hub.create(self.stream, rpc_pb2.WatchCreateRequest(key=b"\0", range_end=b"\0"))
        self.stream.take(1)

    @property
    def now(self) -> dict[bytes, Kv]:
        return self.history[self.revision]

    def write(
        self, payload: bytes, after: dict[bytes, Kv], changed: list[tuple[int, bytes]]
    ) -> None:
        applied = self.machine.apply(payload)
        assert applied.error is None
        assert len(applied.changes) == len(changed)
        if changed:
            self.revision += 1
            self.history[self.revision] = after
            self.expected += [(kind, key, self.revision) for kind, key in changed]
            self.hub.changed(applied.changes)
        if applied.response is not None:  # a put has none
            assert applied.response.revision == self.revision
        assert self.machine.mvcc.revision == self.revision

    def put_into(self, now: dict[bytes, Kv], key: bytes, value: bytes, revision: int) -> None:
        old = now.get(key)
        now[key] = Kv(
            old.create if old else revision, revision, old.version + 1 if old else 1, value
        )

    @rule(key=keys, value=values)
    def put(self, key: bytes, value: bytes) -> None:
        after = dict(self.now)
        self.put_into(after, key, value, self.revision + 1)
        request = rpc_pb2.PutRequest(key=key, value=value)
        self.write(command(put=request), after, [(0, key)])

    @rule(key=keys, end=ends)
    def delete(self, key: bytes, end: bytes) -> None:
        gone = sorted(name for name in self.now if in_range(name, key, end))
        after = {name: kv for name, kv in self.now.items() if name not in gone}
        request = rpc_pb2.DeleteRangeRequest(key=key, range_end=end)
        self.write(command(delete_range=request), after, [(1, name) for name in gone])

    @rule(key=keys, other=keys, version=st.integers(0, 3), value=values)
    def txn(self, key: bytes, other: bytes, version: int, value: bytes) -> None:
        """If version(key) == N then put both (once each), else delete `other`."""
        compare = rpc_pb2.Compare(target=rpc_pb2.Compare.VERSION, key=key, version=version)
        targets = sorted({key, other})
        request = rpc_pb2.TxnRequest(
            compare=[compare],
            success=[
                rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=name, value=value))
                for name in targets
            ],
            failure=[rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=other))],
        )
        after = dict(self.now)
        have = self.now[key].version if key in self.now else 0
        if have == version:
            for name in targets:
                self.put_into(after, name, value, self.revision + 1)
            changed = [(0, name) for name in targets]
        else:
            changed = [(1, other)] if after.pop(other, None) else []
        self.write(command(txn=request), after, changed)

    @precondition(lambda self: self.revision > self.compacted)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(max(1, self.compacted + 1), self.revision))
        request = rpc_pb2.CompactionRequest(revision=revision)
        assert self.machine.apply(command(compaction=request)).error is None
        self.compacted = revision

    @precondition(lambda self: not self.machine.mvcc.swept)
    @rule(budget=st.integers(1, 5))
    def sweep(self, budget: int) -> None:
        """At any pace, between any other steps, and nobody who reads notices."""
        before = self.machine.mvcc.hash(self.revision)
        self.machine.mvcc.sweep(budget)
        assert self.machine.mvcc.hash(self.revision) == before

    @rule()
    def restart_from_snapshot(self) -> None:
        before = self.machine.mvcc.hash(self.revision)
        file = b"".join(state.plan(state.capture(self.machine, SnapshotMeta(7, 2))).pages())
        meta, self.machine = state.restore(Database(file))
        assert meta == SnapshotMeta(7, 2)
        assert self.machine.mvcc.hash(self.revision) == before
        self.hub.replaced(self.machine.mvcc)

    @rule(key=keys, end=ends, data=st.data())
    def read(self, key: bytes, end: bytes, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, self.revision + 1))
        request = rpc_pb2.RangeRequest(
            key=key,
            range_end=end,
            revision=revision,
            limit=data.draw(st.integers(0, 3)),
            sort_order=data.draw(st.sampled_from([0, 1, 2])),
            sort_target=data.draw(st.sampled_from([0, 1, 2, 3, 4])),
            keys_only=data.draw(st.booleans()),
            count_only=data.draw(st.booleans()),
            min_mod_revision=data.draw(st.sampled_from([0, 0, 3])),
            max_create_revision=data.draw(st.sampled_from([0, 0, 4])),
        )
        if revision > self.revision:
            with pytest.raises(FutureRevision):
                ranges.execute(self.machine.mvcc, request)
            return
        if 0 < revision < self.compacted:
            with pytest.raises(Compacted):
                ranges.execute(self.machine.mvcc, request)
            return
        self.compare(request, self.history[revision or self.revision])

    def compare(self, request: rpc_pb2.RangeRequest, kvs: dict[bytes, Kv]) -> None:
        response = rpc_pb2.RangeResponse.FromString(ranges.execute(self.machine.mvcc, request))
        inside = {k: kv for k, kv in kvs.items() if in_range(k, request.key, request.range_end)}
        assert response.count == len(inside)
        if request.count_only:
            assert not response.kvs
            return
        wanted = [
            (key, kv)
            for key, kv in sorted(inside.items())
            if kv.mod >= request.min_mod_revision
            and (not request.max_create_revision or kv.create <= request.max_create_revision)
        ]
        column = {
            0: lambda item: item[0],
            1: lambda item: item[1].version,
            2: lambda item: item[1].create,
            3: lambda item: item[1].mod,
            4: lambda item: item[1].value,
        }[request.sort_target]
        filtered = request.min_mod_revision or request.max_create_revision
        if request.sort_order == 0 and request.limit and not filtered:
            # A target without an order sorts what is read: the first by key, and one more (etcd's
            # executeRange).
            wanted = wanted[: request.limit + 1]
        wanted.sort(key=column, reverse=request.sort_order == 2)
        assert response.more == (0 < request.limit < len(wanted))
        wanted = wanted[: request.limit] if request.limit else wanted
        got = [
            (kv.key, Kv(kv.create_revision, kv.mod_revision, kv.version, kv.value))
            for kv in response.kvs
        ]
        if request.keys_only:
            wanted = [(key, Kv(kv.create, kv.mod, kv.version, b"")) for key, kv in wanted]
        assert got == wanted

    @rule()
    def take_events(self) -> None:
        self.hub.catch_up(self.stream)
        for response in self.stream.take(self.revision):
            decoded = rpc_pb2.WatchResponse.FromString(response)
            if decoded.canceled:  # compacted before it was read: allowed, and said
                assert decoded.compact_revision == self.compacted
                self.expected.clear()
                self.seen.clear()
                create = rpc_pb2.WatchCreateRequest(key=b"\0", range_end=b"\0")
                self.hub.create(self.stream, create)
            self.seen += decoded.events

    def teardown(self) -> None:
        """Every revision that is still there can be read as it was, and every event was told."""
        for revision in range(max(1, self.compacted), self.revision + 1):
            request = rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", revision=revision)
            self.compare(request, self.history[revision])
        for _ in range(3):
            self.take_events()
        got = [(event.type, event.kv.key, event.kv.mod_revision) for event in self.seen]
        assert got == self.expected

    @invariant()
    def sizes_agree(self) -> None:
        mvcc = self.machine.mvcc
        assert mvcc.keys() == len(self.now)
        assert mvcc.total_bytes == sum(record.size for record in mvcc.history().records)


TestMvccModel = MvccModel.TestCase
TestMvccModel.settings = settings(max_examples=60, stateful_step_count=40)


@given(
    value=st.binary(max_size=300),
    old=st.one_of(st.none(), st.binary(max_size=300)),
    delete=st.booleans(),
)
def test_events_encoded_by_hand_are_what_protobuf_says(
    value: bytes, old: bytes | None, delete: bool
) -> None:
    machine = Machine()
    if old is not None or delete:
        machine.apply(command(put=rpc_pb2.PutRequest(key=b"k", value=old or b"")))
    if delete:
        request = command(delete_range=rpc_pb2.DeleteRangeRequest(key=b"k"))
    else:
        request = command(put=rpc_pb2.PutRequest(key=b"k", value=value))
    change: Change = machine.apply(request).changes[-1]
    event = kv_pb2.Event.FromString(change.event(prev_kv=True))
    assert event.type == (kv_pb2.Event.DELETE if delete else kv_pb2.Event.PUT)
    assert event.kv.value == (b"" if delete else value)
    assert event.HasField("prev_kv") == (old is not None or delete)
    assert not kv_pb2.Event.FromString(change.event(prev_kv=False)).HasField("prev_kv")


@given(
    key=st.binary(min_size=1, max_size=200),
    value=st.binary(max_size=200) | st.integers(0, 20_000).map(bytes),
    lease=st.sampled_from([0, 0, 7, -1]),
    mod=st.integers(2, 1 << 62),
    prev=st.none() | st.tuples(st.integers(2, 1 << 62), st.integers(1, 1 << 40)),
)
def test_key_values_encoded_by_hand_are_what_protobuf_says(
    key: bytes, value: bytes, lease: int, mod: int, prev: tuple[int, int] | None
) -> None:
    before = Record(key, 2, 0, *prev, 0, b"") if prev else None
    create, version = prev or (mod, 0)
    expected = kv_pb2.KeyValue(
        key=key,
        value=value,
        lease=lease,
        mod_revision=mod,
        create_revision=create,
        version=version + 1,
    )
    assert written(key, value, lease, mod, 0, before).encoded == expected.SerializeToString()
