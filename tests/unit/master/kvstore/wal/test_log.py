"""The write-ahead log: what survives, what is cut off, what stops the member."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from master.kvstore.raft.messages import Entry, HardState, SnapshotMeta
from master.kvstore.wal import record
from master.kvstore.wal.log import (
    Contents,
    FsyncFailed,
    Identity,
    MemberIdentity,
    Wal,
    segment_files,
)
from master.kvstore.wal.record import RecordKind, WalCorrupt

IDENTITY = Identity(1, 2, (MemberIdentity(2, "m1", ("https://127.0.0.1:2380",)),))


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(term, index, b"%d@%d" % (index, term)) for index in range(first, last + 1)]


def replay(directory: Path) -> Contents:
    wal, contents = Wal.open(directory)
    wal.close()
    contents.check_whole()
    return contents


def written(directory: Path, *, seal: bool = False, segment_bytes: int = 1 << 20) -> Path:
    """Ten batches of one entry each; returns the last segment."""
    wal = Wal.create(directory, IDENTITY, segment_bytes=segment_bytes)
    for index in range(1, 11):
        wal.append(HardState(1, 2, index - 1), entries(index, index))
    if seal:
        wal.seal()
    wal.close()
    return segment_files(directory)[-1]


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    written(tmp_path)
    contents = replay(tmp_path)
    assert contents.identity == IDENTITY
    assert contents.hard_state == HardState(1, 2, 9)
    assert contents.entries == entries(1, 10)


def test_a_new_leader_replaces_the_end(tmp_path: Path) -> None:
    wal = Wal.create(tmp_path, IDENTITY)
    wal.append(HardState(1), entries(1, 5))
    wal.append(HardState(3), entries(3, 4, term=3))
    wal.close()
    assert replay(tmp_path).entries == entries(1, 2) + entries(3, 4, term=3)


def test_writing_goes_on_after_a_restart(tmp_path: Path) -> None:
    written(tmp_path)
    wal, _ = Wal.open(tmp_path)
    wal.append(HardState(2), entries(11, 12, term=2))
    wal.close()
    assert replay(tmp_path).entries == entries(1, 10) + entries(11, 12, term=2)


@settings(max_examples=80)
@given(data=st.data())
def test_any_torn_tail_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut the unacknowledged last record anywhere, or fill its end with zeros or old bytes."""
    directory = tmp_path_factory.mktemp("wal")
    segment = written(directory)
    whole = segment.read_bytes()
    last = len(whole)
    for item in record.read(whole):
        if item.end < len(whole):
            last = item.end
    cut = data.draw(st.integers(last, len(whole) - 1))
    rest = data.draw(st.sampled_from([b"", bytes(len(whole) - cut), b"\xa5" * 40, b"MWAL" * 9]))
    segment.write_bytes(whole[:cut] + rest)
    assert replay(directory).entries[:9] == entries(1, 9)
    assert segment.stat().st_size <= len(whole), "the tail is gone from the file as well"
    assert replay(directory).entries[:9] == entries(1, 9)


@settings(max_examples=120)
@given(data=st.data())
def test_any_flipped_bit_in_acknowledged_data_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Also in the last batch, thanks to the seal that follows it."""
    directory = tmp_path_factory.mktemp("wal")
    segment = written(directory, seal=True)
    damaged = bytearray(segment.read_bytes())
    ends = [item.end for item in record.read(bytes(damaged))]
    position = data.draw(st.integers(0, ends[-2] - 1))  # anywhere before the seal itself
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    segment.write_bytes(damaged)
    with pytest.raises(WalCorrupt):
        replay(directory)


def test_a_missing_segment_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, segment_bytes=200)
    files = segment_files(tmp_path)
    assert len(files) > 3
    files[1].unlink()
    with pytest.raises(WalCorrupt, match="missing"):
        replay(tmp_path)


def test_a_damaged_older_segment_is_no_torn_tail(tmp_path: Path) -> None:
    written(tmp_path, segment_bytes=200)
    first = segment_files(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(WalCorrupt, match="acknowledged"):
        replay(tmp_path)


def test_snapshots_let_old_segments_go(tmp_path: Path) -> None:
    wal = Wal.create(tmp_path, IDENTITY, segment_bytes=200)
    for index in range(1, 31):
        wal.append(HardState(1, 2, index), entries(index, index))
    before = len(segment_files(tmp_path))
    meta = SnapshotMeta(25, 1)
    wal.note_snapshot(meta)
    wal.append(HardState(1, 2, 31), entries(31, 31))
    wal.close()
    assert len(segment_files(tmp_path)) < before / 2
    contents = replay(tmp_path)
    assert contents.snapshot == meta
    assert contents.entries == entries(26, 31)


def test_a_received_snapshot_replaces_the_log(tmp_path: Path) -> None:
    wal = Wal.create(tmp_path, IDENTITY)
    wal.append(HardState(1), entries(1, 5))
    wal.append(HardState(4), entries(101, 102, term=4), SnapshotMeta(100, 4))
    wal.close()
    contents = replay(tmp_path)
    assert contents.snapshot.index == 100
    assert contents.entries == entries(101, 102, term=4)


def test_a_full_disk_leaves_a_log_that_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a record is written, then there is no space; later there is."""
    wal = Wal.create(tmp_path, IDENTITY)
    wal.append(HardState(1), entries(1, 3))
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 10:
            return real(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            wal.append(HardState(1), entries(4, 4))
    monkeypatch.undo()
    wal.append(HardState(1), entries(4, 5))
    wal.close()
    assert replay(tmp_path).entries == entries(1, 5)


def test_a_failed_fsync_is_another_matter(tmp_path: Path) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    wal = Wal.create(tmp_path, IDENTITY, fsync=broken)
    with pytest.raises(FsyncFailed):
        wal.append(HardState(1), entries(1, 1))


def test_unknown_bytes_decode_to_nothing() -> None:
    good = record.encode(RecordKind.BATCH, 1, 0, b"payload")
    assert [item.payload for item in record.read(good + good[:-1])] == [b"payload"]


@settings(max_examples=100)
@given(noise=st.binary(max_size=400))
def test_noise_is_never_a_record(noise: bytes) -> None:
    assert list(record.read(noise)) == []
    assert record.is_torn_tail(noise, 0, 0)
