"""Progress on standard error: one line per phase, machines' steps under it while they run.

On a terminal the current steps are shown live; elsewhere each is a line of its own. Results go to
standard output, so that they can be piped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from provision.errors import ProvisionError


def stdout() -> Console:
    return Console(highlight=False, soft_wrap=True)


def stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(slots=True)
class ConsoleReporter:
    """The `Reporter` of the command line."""

    console: Console = field(default_factory=stderr)
    quiet: bool = False
    _running: dict[str, str] = field(default_factory=dict)
    _status: Status | None = None
    _begun: float = field(default_factory=time.monotonic)

    def begin(self, phase: str) -> None:
        self._running[phase] = ""
        self._show()

    def step(self, phase: str, machine: str, message: str) -> None:
        who = f"{machine}: " if machine else ""
        if self._live:
            self._running[phase] = f"{who}{message}"
            self._show()
        elif not self.quiet:
            self.console.print(f"  {escape(phase)}: {escape(who)}{escape(message)}")

    def end(self, phase: str, seconds: float, note: str) -> None:
        self._done(phase, "[green]✓[/]" if self._live else "ok  ", seconds, note)

    def failed(self, phase: str, seconds: float) -> None:
        self._done(phase, "[red]✗[/]" if self._live else "FAIL", seconds, "")

    def note(self, message: str) -> None:
        self.console.print(escape(message))

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _done(self, phase: str, mark: str, seconds: float, note: str) -> None:
        self._running.pop(phase, None)
        if not self.quiet:
            tail = f"  {escape(note)}" if note else ""
            self.console.print(f"{mark} {phase:<12} {seconds:6.1f} s{tail}")
        self._show()

    @property
    def _live(self) -> bool:
        return self.console.is_terminal and not self.quiet

    def _show(self) -> None:
        if not self._live:
            return
        if not self._running:
            self.close()
            return
        text = "  ".join(
            f"[bold]{escape(phase)}[/] {escape(message)}"
            for phase, message in self._running.items()
        )
        if self._status is None:
            self._status = self.console.status(text)
            self._status.start()
        else:
            self._status.update(text)


def complain(error: ProvisionError) -> int:
    """Print message and hint; the exit code that belongs to them."""
    console = stderr()
    console.print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        console.print(f"  [bold]fix:[/] {escape(error.hint)}")
    return error.exit_code
