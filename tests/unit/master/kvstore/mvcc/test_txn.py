"""Transactions: every compare target, nesting, own writes, and what is refused beforehand."""

from __future__ import annotations

import pytest

from kube.stubs.etcd import command_pb2, kv_pb2, rpc_pb2
from master.kvstore.errors import (
    DuplicateKey,
    EmptyKey,
    FutureRevision,
    KeyNotFound,
    LeaseNotFound,
    LeaseProvided,
    StoreError,
    TooManyOps,
    ValueProvided,
)
from master.kvstore.machine import Applied, Machine
from master.kvstore.mvcc import ranges, validate

Compare = rpc_pb2.Compare


def put(key: bytes, value: bytes = b"", **options: object) -> rpc_pb2.RequestOp:
    request = rpc_pb2.PutRequest(key=key, value=value, **options)
    return rpc_pb2.RequestOp(request_put=request)


def get(key: bytes, end: bytes = b"") -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key, range_end=end))


def past(revision: int) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"k", revision=revision))


def delete(key: bytes, end: bytes = b"") -> rpc_pb2.RequestOp:
    request = rpc_pb2.DeleteRangeRequest(key=key, range_end=end)
    return rpc_pb2.RequestOp(request_delete_range=request)


def nested(request: rpc_pb2.TxnRequest) -> rpc_pb2.RequestOp:
    return rpc_pb2.RequestOp(request_txn=request)


def run(machine: Machine, **request: object) -> Applied:
    command = command_pb2.Command(**request)
    return machine.apply(command.SerializeToString())


def response_of(applied: Applied) -> rpc_pb2.TxnResponse:
    return rpc_pb2.TxnResponse.FromString(applied.response.body)


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    run(machine, lease_grant=rpc_pb2.LeaseGrantRequest(ID=7, TTL=60))
    run(machine, put=rpc_pb2.PutRequest(key=b"k", value=b"v1"))
    run(machine, put=rpc_pb2.PutRequest(key=b"k", value=b"v2", lease=7))
    return machine  # k: create 2, mod 3, version 2, lease 7


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(target=Compare.VERSION, key=b"k", version=2), True),
        (Compare(target=Compare.CREATE, key=b"k", create_revision=2), True),
        (Compare(target=Compare.MOD, key=b"k", mod_revision=3), True),
        (Compare(target=Compare.MOD, key=b"k", mod_revision=2, result=Compare.GREATER), True),
        (Compare(target=Compare.MOD, key=b"k", mod_revision=3, result=Compare.GREATER), False),
        (Compare(target=Compare.MOD, key=b"k", mod_revision=3, result=Compare.LESS), False),
        (Compare(target=Compare.MOD, key=b"k", mod_revision=4, result=Compare.LESS), True),
        (Compare(target=Compare.VALUE, key=b"k", value=b"v2"), True),
        (Compare(target=Compare.VALUE, key=b"k", value=b"v1", result=Compare.NOT_EQUAL), True),
        (Compare(target=Compare.LEASE, key=b"k", lease=7), True),
        (Compare(target=Compare.VERSION, key=b"none", version=0), True),
        (Compare(target=Compare.MOD, key=b"none", mod_revision=1), False),
        (Compare(target=Compare.VALUE, key=b"none", value=b""), False),
        (Compare(target=Compare.VALUE, key=b"none", value=b"x", result=Compare.NOT_EQUAL), False),
        (Compare(target=Compare.CREATE, key=b"a", range_end=b"\0", create_revision=2), True),
    ],
)
def test_compare_targets(machine: Machine, compare: Compare, holds: bool) -> None:
    txn = rpc_pb2.TxnRequest(compare=[compare], success=[get(b"k")])
    assert response_of(run(machine, txn=txn)).succeeded is holds


def test_one_revision_and_own_writes_are_seen(machine: Machine) -> None:
    txn = rpc_pb2.TxnRequest(success=[get(b"k"), put(b"n", b"1"), get(b"a", b"\0"), delete(b"k")])
    applied = run(machine, txn=txn)
    response = response_of(applied)
    first, _, both, gone = response.responses
    assert first.response_range.kvs[0].value == b"v2"
    assert first.response_range.header.revision == 3
    assert [kv.key for kv in both.response_range.kvs] == [b"k", b"n"]
    assert gone.response_delete_range.deleted == 1
    assert applied.response.revision == 4
    assert {change.record.mod for change in applied.changes} == {4}
    assert [change.record.sub for change in applied.changes] == [0, 1]


def test_answers_carry_what_was_there_before_and_nested_ones_an_empty_header(
    machine: Machine,
) -> None:
    inner = rpc_pb2.TxnRequest(success=[put(b"n", b"1"), get(b"none")])
    gone = rpc_pb2.DeleteRangeRequest(key=b"k", prev_kv=True)
    run(machine, put=rpc_pb2.PutRequest(key=b"old", value=b"o"))
    ops = [
        put(b"new", prev_kv=True),
        put(b"old", b"x", prev_kv=True),
        nested(inner),
        rpc_pb2.RequestOp(request_delete_range=gone),
    ]
    response = response_of(run(machine, txn=rpc_pb2.TxnRequest(success=ops)))
    new, old, within, deleted = response.responses
    assert not new.response_put.HasField("prev_kv")
    assert old.response_put.prev_kv.value == b"o"
    assert within.response_txn.HasField("header")
    assert not within.response_txn.header.revision
    assert within.response_txn.responses[0].response_put.header.revision == 5
    assert within.response_txn.responses[1].response_range.count == 0
    assert [kv.value for kv in deleted.response_delete_range.prev_kvs] == [b"v2"]


def test_a_transaction_that_does_nothing_says_so(machine: Machine) -> None:
    compare = Compare(target=Compare.VERSION, key=b"k", version=9)
    applied = run(machine, txn=rpc_pb2.TxnRequest(compare=[compare], success=[put(b"n")]))
    assert applied.response.revision == 3
    assert not response_of(applied).succeeded
    assert not response_of(applied).responses


def test_nested_compares_look_at_the_state_before(machine: Machine) -> None:
    inner = rpc_pb2.TxnRequest(
        compare=[Compare(target=Compare.VALUE, key=b"k", value=b"v2")],
        success=[put(b"inner", b"saw the old value")],
    )
    txn = rpc_pb2.TxnRequest(success=[put(b"k", b"v3"), nested(inner)])
    applied = run(machine, txn=txn)
    assert response_of(applied).responses[1].response_txn.succeeded
    assert [change.record.key for change in applied.changes] == [b"k", b"inner"]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (put(b"x", lease=99), LeaseNotFound),
        (put(b"x", ignore_value=True), KeyNotFound),
        (put(b"x", ignore_lease=True), KeyNotFound),
    ],
)
def test_a_refused_transaction_leaves_nothing(
    machine: Machine, bad: rpc_pb2.RequestOp, error: type[StoreError]
) -> None:
    before = machine.mvcc.hash(machine.mvcc.revision)
    applied = run(machine, txn=rpc_pb2.TxnRequest(success=[put(b"fine"), bad]))
    assert isinstance(applied.error, error)
    assert machine.mvcc.hash(machine.mvcc.revision) == before
    assert machine.mvcc.revision == 3


@pytest.mark.parametrize(
    ("ops", "error"),
    [
        ([past(99), nested(rpc_pb2.TxnRequest(success=[put(b"x", lease=99)]))], LeaseNotFound),
        ([put(b"x", lease=99, ignore_value=True)], KeyNotFound),
        ([put(b"y"), past(99)], FutureRevision),
    ],
)
def test_of_several_errors_etcds_first_is_told(
    machine: Machine, ops: list[rpc_pb2.RequestOp], error: type[StoreError]
) -> None:
    assert isinstance(run(machine, txn=rpc_pb2.TxnRequest(success=ops)).error, error)


def test_a_put_by_itself_misses_its_lease_first(machine: Machine) -> None:
    request = rpc_pb2.PutRequest(key=b"x", lease=99, ignore_value=True)
    assert isinstance(run(machine, put=request).error, LeaseNotFound)


def test_ignore_value_and_ignore_lease_keep_what_is_there(machine: Machine) -> None:
    run(machine, put=rpc_pb2.PutRequest(key=b"k", ignore_value=True))
    record = machine.mvcc.get(b"k")
    assert record is not None
    assert (record.value(), record.lease, record.version) == (b"v2", 0, 3)
    run(machine, put=rpc_pb2.PutRequest(key=b"k", lease=7))
    run(machine, put=rpc_pb2.PutRequest(key=b"k", value=b"v4", ignore_lease=True))
    record = machine.mvcc.get(b"k")
    assert record is not None
    assert (record.value(), record.lease) == (b"v4", 7)


@pytest.mark.parametrize(
    "wanting",
    [
        [put(b"k", ignore_value=True)],
        [put(b"k", ignore_lease=True)],
        [nested(rpc_pb2.TxnRequest(failure=[put(b"k", ignore_value=True)]))],
    ],
)
def test_nothing_is_kept_of_what_the_transaction_deletes_to_the_end(
    machine: Machine, wanting: list[rpc_pb2.RequestOp]
) -> None:
    """Such a request, once in the log, would stop every member that applies it."""
    to_the_end = delete(b"a", b"\0")
    with pytest.raises(DuplicateKey):
        validate.check_txn(rpc_pb2.TxnRequest(success=[to_the_end, *wanting]))
    validate.check_txn(rpc_pb2.TxnRequest(success=wanting, failure=[to_the_end]))
    plain = rpc_pb2.TxnRequest(success=[to_the_end, put(b"k", b"v3")])
    validate.check_txn(plain)
    run(machine, txn=plain)
    record = machine.mvcc.get(b"k")
    assert record is not None
    assert record.value() == b"v3"


def test_revoking_a_lease_deletes_its_keys_in_one_revision(machine: Machine) -> None:
    run(machine, put=rpc_pb2.PutRequest(key=b"a", lease=7))
    run(machine, put=rpc_pb2.PutRequest(key=b"free"))
    applied = run(machine, lease_revoke=rpc_pb2.LeaseRevokeRequest(ID=7))
    assert [change.record.key for change in applied.changes] == [b"a", b"k"]
    assert {change.record.mod for change in applied.changes} == {6}
    again = run(machine, lease_revoke=rpc_pb2.LeaseRevokeRequest(ID=7))
    assert isinstance(again.error, LeaseNotFound)


@pytest.mark.parametrize(
    ("txn", "error"),
    [
        (rpc_pb2.TxnRequest(success=[put(b"k"), put(b"k")]), DuplicateKey),
        (rpc_pb2.TxnRequest(success=[put(b"k"), delete(b"a", b"z")]), DuplicateKey),
        (
            rpc_pb2.TxnRequest(
                success=[put(b"k"), nested(rpc_pb2.TxnRequest(failure=[put(b"k")]))]
            ),
            DuplicateKey,
        ),
        (rpc_pb2.TxnRequest(success=[put(b"%d" % i) for i in range(129)]), TooManyOps),
        (
            rpc_pb2.TxnRequest(
                success=[nested(rpc_pb2.TxnRequest(success=[put(b"%d" % i) for i in range(128)]))]
            ),
            TooManyOps,
        ),
        (rpc_pb2.TxnRequest(compare=[Compare()]), EmptyKey),
        (rpc_pb2.TxnRequest(success=[put(b"")]), EmptyKey),
        (rpc_pb2.TxnRequest(success=[rpc_pb2.RequestOp()]), KeyNotFound),
        (rpc_pb2.TxnRequest(success=[put(b"k", b"v", ignore_value=True)]), ValueProvided),
        (rpc_pb2.TxnRequest(success=[put(b"k", lease=1, ignore_lease=True)]), LeaseProvided),
    ],
)
def test_refused_before_it_is_proposed(txn: rpc_pb2.TxnRequest, error: type[StoreError]) -> None:
    with pytest.raises(error):
        validate.check_txn(txn)


def test_branches_that_exclude_each_other_may_write_the_same_key() -> None:
    inner = rpc_pb2.TxnRequest(success=[put(b"k")], failure=[put(b"k")])
    validate.check_txn(rpc_pb2.TxnRequest(success=[put(b"k")], failure=[put(b"k")]))
    validate.check_txn(rpc_pb2.TxnRequest(success=[nested(inner)]))
    validate.check_txn(rpc_pb2.TxnRequest(success=[delete(b"k"), delete(b"a", b"z")]))


@pytest.mark.parametrize("revision", [0, 6], ids=["now", "in the past"])
def test_a_limited_read_counts_everything(machine: Machine, revision: int) -> None:
    for key in (b"l", b"m", b"n"):
        run(machine, put=rpc_pb2.PutRequest(key=key))
    request = rpc_pb2.RangeRequest(key=b"a", range_end=b"\0", limit=2, revision=revision)
    response = rpc_pb2.RangeResponse.FromString(ranges.execute(machine.mvcc, request))
    assert (len(response.kvs), response.count, response.more) == (2, 4, True)


@pytest.mark.parametrize(
    ("bound", "found"),
    [
        ({"min_mod_revision": -1}, 1),
        ({"max_mod_revision": -1}, 0),
        ({"min_create_revision": -1}, 1),
        ({"max_create_revision": -1}, 0),
    ],
)
def test_a_negative_bound_is_one(machine: Machine, bound: dict[str, int], found: int) -> None:
    request = rpc_pb2.RangeRequest(key=b"k", **bound)
    response = rpc_pb2.RangeResponse.FromString(ranges.execute(machine.mvcc, request))
    assert (len(response.kvs), response.count) == (found, 1)


@pytest.mark.parametrize("lease", [0, 8], ids=["no lease", "another lease"])
def test_a_key_that_left_its_lease_outlives_it(machine: Machine, lease: int) -> None:
    run(machine, lease_grant=rpc_pb2.LeaseGrantRequest(ID=8, TTL=60))
    run(machine, put=rpc_pb2.PutRequest(key=b"k", value=b"v3", lease=lease))
    run(machine, lease_revoke=rpc_pb2.LeaseRevokeRequest(ID=7))
    assert machine.mvcc.get(b"k") is not None


@pytest.mark.parametrize("budget", [1, 3, 1000])
def test_a_sweep_frees_what_a_compaction_superseded(budget: int) -> None:
    machine = Machine()
    for number in range(4):
        for key in (b"a", b"b", b"gone"):
            run(machine, put=rpc_pb2.PutRequest(key=key, value=b"%d" % number))
    run(machine, delete_range=rpc_pb2.DeleteRangeRequest(key=b"gone"))
    run(machine, put=rpc_pb2.PutRequest(key=b"a", value=b"last"))
    store = machine.mvcc
    full = store.total_bytes
    run(machine, compaction=rpc_pb2.CompactionRequest(revision=store.revision))
    assert (store.history().count, store.total_bytes) == (14, full)
    while store.sweep(budget):
        run(machine, put=rpc_pb2.PutRequest(key=b"b", value=b"meanwhile"))
    left, count = store.history().records, store.history().count
    assert [(record.key, record.version) for record in left[:2]] == [(b"b", 4), (b"a", 5)]
    assert all(record.key == b"b" for record in left[2:count])
    assert store.total_bytes == sum(record.size for record in left)
    assert store.get(b"gone") is None
    assert not store.sweep(budget)


def test_many_puts_at_once_are_as_many_one_by_one() -> None:
    """New keys, one that was deleted, one that is there, an empty value, and a long one."""
    values = {b"old": b"x", b"gone": b"y", b"new": b"z", b"empty": b"", b"k" * 200: b"v" * 20_000}
    at_once, one_by_one = Machine().mvcc, Machine().mvcc
    for store in (at_once, one_by_one):
        for key in (b"old", b"gone"):
            store.put(key, b"before", 0)
        txn = store.begin()
        txn.delete_range(b"gone", b"")
        txn.end()
    txn = at_once.begin()
    changes = txn.put_all([rpc_pb2.PutRequest(key=k, value=v) for k, v in values.items()])
    txn.end()
    txn = one_by_one.begin()
    for key, value in values.items():
        txn.put(key, value, 0)
    assert [(c.record, c.prev) for c in changes] == [(c.record, c.prev) for c in txn.end()]
    for change in changes:
        said = kv_pb2.KeyValue.FromString(change.record.encoded)
        assert (said.key, said.value) == (change.record.key, values[change.record.key])
        assert (said.create_revision, said.mod_revision, said.version) == (
            change.record.create, change.record.mod, change.record.version
        )  # fmt: skip
    assert at_once.history().records == one_by_one.history().records
    assert at_once.total_bytes == one_by_one.total_bytes
    for revision in range(1, at_once.revision + 1):
        seen = at_once.scan(b"\0", b"\0", revision, 0)
        assert seen == one_by_one.scan(b"\0", b"\0", revision, 0)
    assert at_once.keys() == one_by_one.keys() == len(values)
