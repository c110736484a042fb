"""What a power loss leaves of a member's files: all that was synced, and anything of the rest.

kill -9 alone loses nothing, for the kernel still writes. Our store notes the length of each file
when it syncs it (`master/kvstore/wal/sync.py`); here the files of a dead member are cut to that.
"""

from __future__ import annotations

import random
from pathlib import Path


def lose_unsynced(data_dir: Path, notes: Path, rng: random.Random) -> str:
    """Returns what was lost, in words."""
    lost = []
    for path in sorted([*data_dir.glob("member/wal/*.wal"), *data_dir.glob("member/snap/*.snap")]):
        size = path.stat().st_size
        durable = _noted(notes, path)
        if size <= durable:
            continue
        kept = rng.choice((durable, rng.randint(durable, size)))
        with path.open("r+b") as file:
            file.truncate(kept)
            if rng.random() < 0.3:  # the length was written, the pages were not
                file.truncate(size)
        lost.append(f"{size - kept} bytes of {path.name}")
    return ", ".join(lost) or "nothing"


def _noted(notes: Path, path: Path) -> int:
    try:
        return int((notes / str(path.stat().st_ino)).read_text())
    except FileNotFoundError:
        return 0
