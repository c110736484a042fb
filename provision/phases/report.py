"""How phases tell what they do, and the record of how long each took."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from provision.state import write_private


class Reporter(Protocol):
    """Where progress goes: a terminal, a log, or nowhere."""

    def begin(self, phase: str) -> None: ...

    def step(self, phase: str, machine: str, message: str) -> None: ...

    def end(self, phase: str, seconds: float, note: str) -> None: ...

    def failed(self, phase: str, seconds: float) -> None: ...

    def note(self, message: str) -> None: ...


class Silent:
    """The reporter of a caller who does not want to hear about it."""

    def begin(self, phase: str) -> None: ...

    def step(self, phase: str, machine: str, message: str) -> None: ...

    def end(self, phase: str, seconds: float, note: str) -> None: ...

    def failed(self, phase: str, seconds: float) -> None: ...

    def note(self, message: str) -> None: ...


@dataclass(slots=True)
class Step:
    """A phase under way; `note` is shown when it ends."""

    phase: str
    reporter: Reporter
    note: str = ""

    def say(self, machine: str, message: str) -> None:
        self.reporter.step(self.phase, machine, message)


@dataclass(slots=True)
class Phases:
    """Runs phases, possibly several at once, and keeps their times."""

    reporter: Reporter
    started: float = field(default_factory=time.monotonic)
    times: dict[str, tuple[float, float]] = field(default_factory=dict)  # begin and end

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Step]:
        step = Step(name, self.reporter)
        begin = time.monotonic()
        self.reporter.begin(name)
        try:
            yield step
        except BaseException:
            self.reporter.failed(name, time.monotonic() - begin)
            raise
        end = time.monotonic()
        self.times[name] = (begin - self.started, end - self.started)
        self.reporter.end(name, end - begin, step.note)

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def save(self, path: Path) -> None:
        """For the benchmarks: seconds per phase. Some phases run side by side."""
        content = {name: round(end - begin, 3) for name, (begin, end) in self.times.items()}
        content["total"] = round(self.elapsed(), 3)
        write_private(path, json.dumps(content, indent=2).encode() + b"\n")
