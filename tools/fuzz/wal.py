"""Logs of several segments, damaged: read to a prefix of what was written, or refused.

A prefix may not lack what a record that is left knows to have been on disk. Only checksums that
were forged to fit let other contents through: then nothing but the documented error may come.
"""

from __future__ import annotations

import logging
import random
import shutil
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from master.kvstore.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from master.kvstore.wal import record
from master.kvstore.wal.log import Identity, MemberIdentity, Wal, segment_files
from master.kvstore.wal.record import WalCorrupt
from tools.fuzz.damage import damaged, in_memory, shuffled

_INPUTS = 50  # of each log
# Whose log it is, and whose pieces of a log come in between.
_OWN, _OTHER = (
    Identity(7, member, (MemberIdentity(8, "m", ("https://127.0.0.1:2380",)),)) for member in (8, 9)
)

# What a log says: term, vote and commit; the snapshot; the entries behind it.
State = tuple[HardState, SnapshotMeta, tuple[Entry, ...]]


class _Model:
    """The same log as a plain dictionary, and what it was after each record."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.snapshot = SnapshotMeta()
        self.entries: dict[int, Entry] = {}
        self.states: list[State] = []

    def head(self) -> None:
        self.states += [self._state()] * 3

    def batch(self, hard_state: HardState, entries: Sequence[Entry]) -> None:
        if entries:
            self.entries = {i: e for i, e in self.entries.items() if i < entries[0].index}
            self.entries.update((entry.index, entry) for entry in entries)
        self.hard_state = hard_state
        self.states.append(self._state())

    def take(self, snapshot: SnapshotMeta) -> None:
        mine = self.entries.get(snapshot.index)
        if mine is not None and mine.term != snapshot.term:
            self.entries = {}
        self.entries = {i: e for i, e in self.entries.items() if i > snapshot.index}
        self.snapshot = snapshot
        self.states.append(self._state())

    def seal(self) -> None:
        self.states.append(self._state())

    def _state(self) -> State:
        return self.hard_state, self.snapshot, tuple(self.entries.values())

    @property
    def last(self) -> int:
        return max(self.entries, default=self.snapshot.index)


def episode(seed: int) -> int:
    rng = random.Random(seed)
    logging.disable(logging.WARNING)  # each torn tail would be told
    with in_memory() as scratch:
        model, files = _written(rng, scratch / "one", _OWN)
        _, others = _written(random.Random(seed + (1 << 32)), scratch / "other", _OTHER)
        for number in range(_INPUTS):
            forged = number % 5 == 0
            broken = _forged(rng, files) if forged else _broken(rng, files, others)
            found = _opened(scratch / "broken", broken)
            if found is not None and not forged:
                _judge(found, model, _known_durable(files, broken))
    return _INPUTS


def _written(
    rng: random.Random, directory: Path, identity: Identity
) -> tuple[_Model, dict[str, bytes]]:
    """A log with elections, snapshots and lost ends of logs, as a member writes it."""
    model = _Model()
    wal = Wal.create(
        directory, identity, segment_bytes=rng.choice((300, 900, 1 << 20)), fsync=lambda _: None
    )
    model.head()
    for _ in range(rng.randint(1, 12)):
        _append(rng, wal, model)
        match rng.randrange(6):
            case 0:
                wal.seal()
                model.seal()
            case 1 if model.last > model.snapshot.index:
                meta = SnapshotMeta(rng.randint(model.snapshot.index + 1, model.last), 1)
                meta = msgspec.structs.replace(meta, term=_term(model, meta.index))
                wal.note_snapshot(meta)
                model.take(meta)
    wal.close()
    return model, {path.name: path.read_bytes() for path in segment_files(directory)}


def _term(model: _Model, index: int) -> int:
    entry = model.entries.get(index)
    return entry.term if entry else model.snapshot.term


def _append(rng: random.Random, wal: Wal, model: _Model) -> None:
    if wal._size >= wal._segment_bytes:
        model.head()
    term = model.hard_state.term + (rng.random() < 0.3)
    snapshot = None
    first = model.last + 1
    if rng.random() < 0.1:
        snapshot = SnapshotMeta(model.last + rng.randint(1, 50), term)
        model.take(snapshot)
        first = snapshot.index + 1
    elif rng.random() < 0.3:
        first = rng.randint(model.snapshot.index + 1, first)
    entries = [
        Entry(term, index, rng.randbytes(rng.choice((0, 3, 50))), rng.choice(tuple(EntryKind)))
        for index in range(first, first + rng.randint(0, 4))
    ]
    hard_state = HardState(term, rng.randrange(4), model.snapshot.index)
    wal.append(hard_state, entries, snapshot)
    model.batch(hard_state, entries)


def _broken(
    rng: random.Random, files: dict[str, bytes], others: dict[str, bytes]
) -> dict[str, bytes]:
    broken = dict(files)
    for _ in range(rng.choice((1, 1, 2))):
        if not broken:
            break
        name = rng.choice(sorted(broken))
        data = broken[name]
        foreign = others[rng.choice(sorted(others))]
        match rng.randrange(8):
            case 0:
                del broken[name]
            case 1:
                broken[name] = foreign
            case 2:
                broken[f"{rng.getrandbits(16):016x}.wal"] = data
            case 3 | 4:
                broken[name] = b"".join(shuffled(rng, _records(data), _records(foreign)))
            case _:
                broken[name] = damaged(rng, data, foreign)
    strange = tuple(_records(data)[0] for data in others.values())
    while broken and broken[min(broken)].startswith(strange):
        del broken[min(broken)]  # it may be a whole log, only not ours: the cluster's business
    return broken


def _records(segment: bytes) -> list[bytes]:
    ends = [0, *(item.end for item in record.read(segment))]
    return [segment[start:end] for start, end in pairwise(ends)]


def _forged(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """One record's content damaged, the checksums from there on made to fit."""
    name = rng.choice(sorted(files))
    records = _records(files[name])
    victim = rng.randrange(len(records))
    out = b"".join(records[:victim])
    previous = None
    for number, one in enumerate(records[victim:]):
        head, payload = bytearray(one[12:33]), one[33:]
        if number == 0:
            payload = damaged(rng, payload)
        if previous is not None:
            head[:4] = previous
        crc = struct.pack("<I", zlib.crc32(bytes(head) + payload))
        out += one[:4] + struct.pack("<I", len(payload)) + crc + head + payload
        previous = crc
    return files | {name: out}


def _opened(directory: Path, files: dict[str, bytes]) -> State | None:
    """What a member starts from, or None when it does not start."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    first = _read(directory)
    if first is not None:
        assert _read(directory) == first, "the second start reads something else"
    return first


def _judge(found: State, model: _Model, durable: int) -> None:
    reached = [
        number
        for number, state in enumerate(map(_essence, model.states), start=1)
        if state == found
    ]
    assert reached, f"never written: {found}"
    assert reached[-1] >= durable, f"read to record {reached[-1]}, {durable} was on disk"


def _known_durable(files: dict[str, bytes], broken: dict[str, bytes]) -> int:
    """The newest record that one which is left calls durable."""
    left = b"".join(broken.values())
    return max(
        (
            item.durable
            for data in files.values()
            for item, whole in zip(record.read(data), _records(data), strict=True)
            if whole in left
        ),
        default=0,
    )


def _essence(state: State) -> State:
    """Without what the snapshot covers: a segment that was dropped may have told of it."""
    hard_state, snapshot, entries = state
    return hard_state, snapshot, tuple(e for e in entries if e.index > snapshot.index)


def _read(directory: Path) -> State | None:
    try:
        wal, contents = Wal.open(directory)
        wal.close()
        contents.check_whole()
    except WalCorrupt:
        return None
    return _essence((contents.hard_state, contents.snapshot, tuple(contents.entries)))
