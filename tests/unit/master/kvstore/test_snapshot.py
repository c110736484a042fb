"""Snapshot files: a state comes back as it was, a flipped bit is noticed, transfers go on."""

from __future__ import annotations

import random
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore import state
from master.kvstore.bolt.page import PAGE_SIZE
from master.kvstore.bolt.writer import FilePlan
from master.kvstore.errors import Compacted
from master.kvstore.lease.lessor import Lease
from master.kvstore.machine import Machine
from master.kvstore.mvcc.records import Record, written
from master.kvstore.mvcc.store import Mvcc
from master.kvstore.raft.messages import Membership, SnapshotMeta
from master.kvstore.restore import Summary, restore, verify
from master.kvstore.wal.snapshot import HASH_BYTES, SnapshotCorrupt, SnapshotDirectory, stream

META = SnapshotMeta(70, 2, Membership(frozenset({1, 2}), learners=frozenset({3})))


def apply(machine: Machine, **request: object) -> None:
    command = command_pb2.Command(**request)
    assert machine.apply(command.SerializeToString()).error is None


def busy_machine() -> Machine:
    """Overwritten, deleted, compacted, leased keys, and one that fills several pages."""
    machine = Machine()
    machine.lessor.leases = {7: Lease(7, 60), 1 << 62: Lease(1 << 62, 9)}
    for number in range(300):
        name = b"k%d" % (number % 200)
        apply(machine, put=rpc_pb2.PutRequest(key=name, value=bytes(number), lease=7))
    apply(machine, put=rpc_pb2.PutRequest(key=b"large", value=bytes(3 * PAGE_SIZE)))
    apply(machine, delete_range=rpc_pb2.DeleteRangeRequest(key=b"k1", range_end=b"k2"))
    apply(machine, compaction=rpc_pb2.CompactionRequest(revision=250))
    machine.alarms = {(5, rpc_pb2.NOSPACE)}
    return machine


def save(directory: Path, machine: Machine, meta: SnapshotMeta = META) -> Path:
    pages = state.plan(state.capture(machine, meta)).pages()
    return SnapshotDirectory(directory).save(meta, pages)


def content(machine: Machine) -> tuple[object, ...]:
    store = machine.mvcc
    while store.sweep(50):
        pass
    return (
        store.revision, store.compacted, store.total_bytes, store.hash(store.revision),
        list(store.live()), [store.get_at(b"k150", r) for r in range(250, store.revision)],
        [machine.lessor.leases[k] for k in sorted(machine.lessor.leases)], set(machine.alarms),
    )  # fmt: skip


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    machine = busy_machine()
    path = save(tmp_path, machine)
    assert path.stat().st_size % 512 == HASH_BYTES, "the form in which etcdctl expects a checksum"
    meta, again = state.load(path)
    assert meta == META
    assert content(again) == content(machine)
    again.alarms.clear()
    apply(again, put=rpc_pb2.PutRequest(key=b"k10", value=b"goes on"))
    assert again.mvcc.revision == machine.mvcc.revision + 1


def test_what_is_written_after_the_capture_is_not_in_it(tmp_path: Path) -> None:
    machine = busy_machine()
    before = content(machine)
    captured = state.capture(machine, META)
    machine.alarms.clear()
    apply(machine, put=rpc_pb2.PutRequest(key=b"late"))
    plan = state.plan(captured)
    apply(machine, compaction=rpc_pb2.CompactionRequest(revision=machine.mvcc.revision))
    path = SnapshotDirectory(tmp_path).save(META, plan.pages())
    assert content(state.load(path)[1]) == before


def test_the_revision_survives_when_nothing_else_does(tmp_path: Path) -> None:
    """The last change was a deletion, and it is compacted away in a file of etcd's."""
    machine = Machine()
    machine.mvcc = Mvcc.restore(9, [])
    _, again = state.load(save(tmp_path, machine))
    assert (again.mvcc.revision, again.mvcc.compacted) == (9, 9)


def test_a_summary_has_walked_through_every_bucket(tmp_path: Path) -> None:
    """Also one that is of no matter to the state."""

    def summary(*strange: tuple[bytes, bytes]) -> Summary:
        file = FilePlan({b"key": lambda: ([],), b"zz": lambda: (list(strange),)})
        path = tmp_path / "file"
        path.write_bytes(b"".join(stream(file.pages())))
        return verify(path)

    found = summary((b"a", b"1"), (b"b", b"2"))
    assert found.hash == google_crc32c.value(b"keyzza1b2")
    assert (found.total_keys, found.keys) == (2, 0)
    assert found.total_size == found.bytes - HASH_BYTES
    with pytest.raises(SnapshotCorrupt, match="out of order"):
        summary((b"b", b"2"), (b"a", b"1"))


def test_the_newest_file_counts_and_three_are_kept(tmp_path: Path) -> None:
    directory = SnapshotDirectory(tmp_path)
    assert directory.newest() is None
    paths = [save(tmp_path, Machine(), SnapshotMeta(index, 1)) for index in (5, 70, 300, 4000)]
    assert directory.newest() == paths[-1]
    directory.drop_old()
    assert sorted(tmp_path.iterdir()) == paths[1:]


def test_what_a_crash_left_half_done_is_dropped(tmp_path: Path) -> None:
    directory = SnapshotDirectory(tmp_path)
    directory.incoming(2, META).finish()
    incoming = directory.incoming(1, META)
    incoming.add(b"half")
    incoming.close()
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "0005-0001.tmp").write_bytes(b"half")
    path = save(tmp_path, Machine())
    SnapshotDirectory(tmp_path).drop_unfinished()
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("snap"), busy_machine())


@settings(max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(whole: Path, data: st.DataObject) -> None:
    stream = bytearray(whole.read_bytes())
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged = whole.with_suffix(".damaged")
    damaged.write_bytes(stream)
    with pytest.raises(SnapshotCorrupt, match=r"damaged.*sha256"):
        state.load(damaged)


@pytest.mark.parametrize("size", [0, 31, 32, 33, 512, 544, 5000])
def test_what_is_no_snapshot_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(size).randbytes(size))
    with pytest.raises(SnapshotCorrupt, match="file"):
        state.load(path)


def test_a_bare_database_is_taken_on_request(tmp_path: Path) -> None:
    machine = busy_machine()
    path = save(tmp_path, machine)
    path.write_bytes(path.read_bytes()[:-HASH_BYTES])
    with pytest.raises(SnapshotCorrupt, match="no sha256"):
        state.load(path)
    _, again = state.load(path, check=False)
    assert content(again) == content(machine)


def test_a_record_that_contradicts_its_revision_is_refused(tmp_path: Path) -> None:
    """The hash is right, the content is not: a file that somebody made."""
    machine = Machine()
    good = written(b"k", b"v", 0, 5, 0, None)
    machine.mvcc._log = [Record(b"k", 6, 0, 5, 1, 0, good.encoded)]
    with pytest.raises(SnapshotCorrupt, match="revision 6 holds a key of revision 5"):
        state.load(save(tmp_path, machine))


def test_a_transfer_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    directory = SnapshotDirectory(tmp_path)
    first = directory.incoming(1, META)
    first.add(b"first ")
    second = directory.incoming(1, META)
    assert second.size == len(b"first ")
    with pytest.raises(ValueError, match="closed"):
        first.add(b"from a connection that is dead but does not know it")
    second.add(b"second")
    assert second.finish().read_bytes() == b"first second"


def test_the_same_snapshot_once_more_is_another_file(tmp_path: Path) -> None:
    """The first may not be installed yet: what becomes of the second must not touch it."""
    directory = SnapshotDirectory(tmp_path)
    files = []
    for content in (b"first", b"second"):
        incoming = directory.incoming(1, META)
        assert incoming.size == 0
        incoming.add(content)
        files.append(incoming.finish())
    assert [path.read_bytes() for path in files] == [b"first", b"second"]


def test_another_snapshots_transfer_begins_at_the_beginning(tmp_path: Path) -> None:
    directory = SnapshotDirectory(tmp_path)
    directory.incoming(1, META).add(b"of member 1")
    other = directory.incoming(2, META)
    assert other.size == 0
    other.close()
    assert [path.name for path in tmp_path.iterdir()] == [other.path.name]


def test_installing_may_be_repeated(tmp_path: Path) -> None:
    """The disk may be full right after the file has its name: the write is tried again."""
    directory = SnapshotDirectory(tmp_path)
    incoming = directory.incoming(1, META)
    incoming.add(b"state")
    received = incoming.finish()
    directory.install(META, received)
    directory.install(META, received)
    with pytest.raises(FileNotFoundError):
        directory.install(SnapshotMeta(71, 2), received)
    newest = directory.newest()
    assert newest is not None
    assert newest.read_bytes() == b"state"


def test_a_restored_store_leaps_over_what_may_have_been_seen(tmp_path: Path) -> None:
    machine = busy_machine()
    before = machine.mvcc.revision
    members = {"m1": ("https://127.0.0.1:2380",)}
    restore(save(tmp_path, machine), tmp_path / "data", "m1", members, "t", bump_revision=1000)
    (file,) = (tmp_path / "data" / "member" / "snap").glob("*.snap*")
    store = state.load(file)[1].mvcc
    assert store.revision == store.compacted == before + 1000
    assert [r.key for r in store.live()] == [r.key for r in machine.mvcc.live()]
    with pytest.raises(Compacted):
        store.check_readable(before)
    store.put(b"k", b"goes on", 0)
    assert store.revision == before + 1001
