"""A power loss takes whatever was not synced; what was acknowledged must be there, and readable."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from master.kvstore.raft.messages import Entry, HardState
from master.kvstore.wal import sync
from master.kvstore.wal.log import Identity, MemberIdentity, Wal
from tests.robustness.powerloss import lose_unsynced

IDENTITY = Identity(1, 2, (MemberIdentity(2, "m1", ("https://127.0.0.1:2380",)),))


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "notes"
    directory.mkdir()
    monkeypatch.setattr(sync, "_NOTES", str(directory))
    return directory


@pytest.mark.parametrize("seed", range(12))
def test_a_power_loss_takes_nothing_that_was_acknowledged(
    tmp_path: Path, notes: Path, seed: int
) -> None:
    rng = random.Random(seed)
    directory = tmp_path / "data" / "member" / "wal"
    wal = Wal.create(directory, IDENTITY, segment_bytes=400)
    count = rng.randint(1, 30)
    for index in range(1, count + 1):
        wal.append(HardState(1, 2, index - 1), [Entry(1, index, bytes(rng.randint(0, 90)))])
        if rng.random() < 0.3:
            wal.seal()
    wal.close()
    lose_unsynced(tmp_path / "data", notes, rng)
    again, contents = Wal.open(directory)
    assert [entry.index for entry in contents.entries] == list(range(1, count + 1))
    assert contents.hard_state == HardState(1, 2, count - 1)
    again.append(HardState(1, 2, count), [Entry(1, count + 1, b"more")])
    again.close()


def test_what_was_not_synced_is_lost(tmp_path: Path, notes: Path) -> None:
    """The test's own teeth: a log that skips its syncs loses what it acknowledged."""
    directory = tmp_path / "data" / "member" / "wal"
    wal = Wal.create(directory, IDENTITY, fsync=lambda descriptor: None)
    wal.append(HardState(1), [Entry(1, 1, b"x")])
    wal.close()
    lost = {lose_unsynced(tmp_path / "data", notes, random.Random(seed)) for seed in range(5)}
    assert lost != {"nothing"}
    again, contents = Wal.open(directory)
    assert contents.entries == []
    again.close()
