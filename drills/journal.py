"""The undo of a drill, on disk before its faults: what `muster drill heal` works from.

One folder a run under `<lab state>/drills/<run id>/`. A file `undo-<fault>.json` is there exactly
while something of that fault is left to undo; `undo.log` keeps what was written, done and undone,
by whom and when.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from drills.undo import AnyStep

Event = str  # written, injected, healed, failed


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """How to take one fault back, at the latest at `deadline` (Unix seconds)."""

    drill: str
    lab: str
    key: str  # the fault within its run
    fault: str  # in words: "power-off of w2"
    steps: tuple[AnyStep, ...]
    deadline: float


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the undo log."""

    at: float
    by: str  # drill, heal or watchdog
    event: Event
    key: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    folder: Path

    def write(self, undo: Undo) -> None:
        """Make the undo durable; only after this returns may the fault be injected."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(undo.key)
        scratch = path.with_suffix(".new")
        with scratch.open("wb") as file:
            file.write(msgspec.json.encode(undo))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        # The name too must survive a power cut of this host, and the folders that lead to it.
        for directory in (self.folder, self.folder.parent, self.folder.parent.parent):
            _sync(directory)

    def read(self) -> list[Undo]:
        """What is left to undo, the latest fault first."""
        found = []
        for path in self.folder.glob("undo-*.json"):
            with contextlib.suppress(FileNotFoundError):  # just undone by another
                found.append((path.stat().st_mtime_ns, path.read_bytes()))
        found.sort(reverse=True)
        return [msgspec.json.decode(text, type=Undo) for _, text in found]

    def clear(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def note(self, by: str, event: Event, key: str, text: str = "") -> None:
        """Add a line to the undo log; one write, so that two writers' lines stay whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = Line(at=time.time(), by=by, event=event, key=key, text=text)
        with self._log.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def lines(self) -> list[Line]:
        """The undo log. A last line that a power cut has torn is left out."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in self._log.read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    found.append(msgspec.json.decode(line, type=Line))
        return found

    @property
    def _log(self) -> Path:
        return self.folder / "undo.log"

    def _path(self, key: str) -> Path:
        return self.folder / f"undo-{key}.json"


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def runs(lab_state: Path) -> list[Journal]:
    """All runs of a lab, oldest first."""
    folder = lab_state / "drills"
    return [Journal(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def pending(lab_state: Path) -> list[tuple[Journal, Undo]]:
    """What is left to undo of all runs, the latest first."""
    return [(journal, undo) for journal in reversed(runs(lab_state)) for undo in journal.read()]
