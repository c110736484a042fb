"""Feeds the store with broken input: `python tools/fuzz_store.py --target wal --count N --seed S`.

Targets: what is read from the disk (wal, snapshot), from other members (frames), from clients
(requests). In memory, no sockets. An input that breaks a rule prints its seed; the same seed
replays it. The rules stand at the head of each target in tools/fuzz/.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.fuzz import frames, harness, requests, snapshot, wal

if __name__ == "__main__":
    raise SystemExit(
        harness.main(
            __doc__,
            {
                "wal": wal.episode,
                "frames": frames.episode,
                "requests": requests.episode,
                "snapshot": snapshot.episode,
            },
        )
    )
