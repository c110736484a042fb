"""What is judged: our store (from this tree or another one), or stock etcd."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT_MS = 50
ELECTION_MS = 500
SNAPSHOT_COUNT = 60
_BOTH = (
    "--heartbeat-interval", str(HEARTBEAT_MS), "--election-timeout", str(ELECTION_MS),
    "--snapshot-count", str(SNAPSHOT_COUNT),
    "--experimental-watch-progress-notify-interval", "300ms",
)  # fmt: skip
# So that short runs pass the rare places: new segments, and members too far behind for the log.
_OURS = ("--wal-segment-bytes", "16384", "--experimental-snapshot-catchup-entries", "20")


@dataclass(frozen=True, slots=True)
class Program:
    """`ours`: it has fail points and notes what it made durable."""

    name: str
    command: tuple[str, ...]
    directory: Path
    ours: bool

    @property
    def disk_bytes(self) -> int:
        """A disk that is soon full. Etcd reserves two log files of 64 MB."""
        return (4 << 20) if self.ours else (160 << 20)


def ours(tree: Path = ROOT) -> Program:
    name = "muster" if tree == ROOT else tree.name
    return Program(name, (sys.executable, "-m", "master.kvstore", *_BOTH, *_OURS), tree, True)


def etcd() -> Program:
    return Program("etcd", ("etcd", *_BOTH, "--logger", "zap"), ROOT, False)
