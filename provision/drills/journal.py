"""The undo of a drill, on disk before the fault: what `muster drill heal` works from.

One folder a run under `<lab state>/drills/<run id>/`; `undo.json` is there exactly while
something is left to undo.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """Switch these machines on again, at the latest at `deadline` (Unix seconds)."""

    drill: str
    lab: str
    power_on: tuple[str, ...]
    deadline: float


@dataclass(frozen=True, slots=True)
class Journal:
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "undo.json"

    def write(self, undo: Undo) -> None:
        """Make the undo durable; only after this returns may the fault be injected."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".new")
        with scratch.open("wb") as file:
            file.write(msgspec.json.encode(undo))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.path)

    def read(self) -> Undo | None:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Undo)
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)


def runs(lab_state: Path) -> list[Journal]:
    """All runs of a lab, oldest first."""
    folder = lab_state / "drills"
    return [Journal(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def pending(lab_state: Path) -> list[tuple[Journal, Undo]]:
    """The runs that have something left to undo."""
    found = [(journal, journal.read()) for journal in runs(lab_state)]
    return [(journal, undo) for journal, undo in found if undo is not None]
