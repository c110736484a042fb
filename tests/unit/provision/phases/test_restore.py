"""What a restore does to a master's files: wherever it is cut off, what was there comes back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision.payload.masters import KVSTORE_DATA
from provision.phases.restore import BEFORE, PUT_BACK, RESTORED, SET_ASIDE

STEPS = SET_ASIDE.splitlines()


def run(script: str, root: Path) -> None:
    """The script as a machine has it, on a directory of its own."""
    here = script.replace(str(Path(KVSTORE_DATA).parent), str(root))
    subprocess.run(["sh", "-ec", here], check=True)


def master(root: Path, *, earlier: bool) -> tuple[Path, Path]:
    """A data directory and the one that is to replace it; maybe what an earlier restore left."""
    data, restored, before = (root / Path(p).name for p in (KVSTORE_DATA, RESTORED, BEFORE))
    for directory, text in ((data, "now"), (restored, "new"), *([(before, "old")] * earlier)):
        directory.mkdir()
        (directory / "wal").write_text(text)
    return data, before


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("done", range(len(STEPS) + 1))
def test_what_was_there_comes_back(done: int, earlier: bool, tmp_path: Path) -> None:
    data, _ = master(tmp_path, earlier=earlier)
    run("\n".join(STEPS[:done]), tmp_path)
    run(PUT_BACK, tmp_path)
    assert (data / "wal").read_text() == "now"
    run(PUT_BACK, tmp_path)
    assert (data / "wal").read_text() == "now"


def test_what_was_there_is_kept_until_the_next_time(tmp_path: Path) -> None:
    data, before = master(tmp_path, earlier=True)
    run(SET_ASIDE, tmp_path)
    assert ((data / "wal").read_text(), (before / "wal").read_text()) == ("new", "now")
