"""What the victims' components had to say in a drill: warnings and errors from their journals."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drills.lab import DrillLab, Unanswered
from provision.providers.base import ProviderError

# What a report shows: enough to see what each component noticed, not its whole log.
LINES_PER_MACHINE = 25
TEXT_LENGTH = 300
PATIENCE_SECONDS = 10.0
_SHOWN = {"warning", "error", "critical"}


@dataclass(frozen=True, slots=True)
class LogSeen:
    """A line of a component's log. `at` is in seconds since the epoch, by the machine's clock."""

    at: float
    machine: str
    component: str
    text: str


async def of_victims(
    lab: DrillLab, victims: Sequence[str], begin: float, end: float
) -> tuple[LogSeen, ...]:
    """Of every victim that answers, the earliest first."""
    if not begin:
        return ()
    found = await asyncio.gather(*(_of(lab, victim, begin, end) for victim in victims))
    return tuple(sorted((line for lines in found for line in lines), key=lambda line: line.at))


async def _of(lab: DrillLab, machine: str, begin: float, end: float) -> list[LogSeen]:
    command = [
        "journalctl", "--no-pager", "--unit=muster-*", f"--since=@{begin:.0f}",
        f"--until=@{end + 1:.0f}", "--output=json", "--output-fields=MESSAGE,_SYSTEMD_UNIT",
    ]  # fmt: skip
    with contextlib.suppress(Unanswered, ProviderError):  # it did not come back, and cannot tell
        text = await lab.run_on(machine, command, timeout=PATIENCE_SECONDS)
        return list(worth_showing(machine, text))[:LINES_PER_MACHINE]
    return []


def worth_showing(machine: str, journal: str) -> Iterator[LogSeen]:
    """The warnings and errors in journalctl's JSON; a text that comes again right away, once."""
    last: tuple[str, str] | None = None
    for line in journal.splitlines():
        try:
            entry = json.loads(line)
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, KeyError, TypeError):
            continue  # of a journal that was cut off with its machine
        component = str(entry.get("_SYSTEMD_UNIT", "")).removeprefix("muster-")
        component = component.removesuffix(".service")
        text = _warning(entry.get("MESSAGE"))
        if text and (component, text) != last:
            last = component, text
            yield LogSeen(at, machine, component, text)


def _warning(message: object) -> str:
    """The words of a component's line (JSON); "" for what is no warning."""
    try:
        said = json.loads(message) if isinstance(message, str) else None
    except ValueError:
        return ""
    if not isinstance(said, dict) or said.get("level") not in _SHOWN:
        return ""
    rest = {k: v for k, v in said.items() if k not in ("ts", "level", "logger", "msg", "traceback")}
    words = " ".join([str(said.get("msg", "")), *(f"{k}={v}" for k, v in rest.items())])
    return words if len(words) <= TEXT_LENGTH else f"{words[:TEXT_LENGTH]}…"
