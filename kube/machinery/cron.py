"""Schedules of CronJobs: five fields or a descriptor, as upstream's parser reads them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_DAYS = {
    name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
}
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")
# A schedule that names no day of the next years, such as 30 February, never fires.
_YEARS = 5
_SHOWN = 100


class CronError(ValueError):
    """The schedule cannot be read; the message says which part."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    least: int
    most: int
    names: dict[str, int] = field(default_factory=dict)


_FIELDS = (
    _Bounds(0, 59),
    _Bounds(0, 23),
    _Bounds(1, 31),
    _Bounds(1, 12, _MONTHS),
    _Bounds(0, 6, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes, hours, days, months and weekdays (0 is Sunday) at which something is due; or,
    with `every`, a fixed pause."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    # A field that began with a star: then a day must fit both fields, else one of the two.
    any_day: bool = False
    any_weekday: bool = False
    every: timedelta | None = None

    def next_after(self, when: datetime) -> datetime | None:
        """The first time that is due after `when`, in its time zone; None: there is none within
        five years."""
        if self.every is not None:
            return when.replace(microsecond=0) + self.every
        at = when.replace(second=0, microsecond=0) + timedelta(minutes=1)
        last = at.year + _YEARS
        while at.year <= last:
            if at.month not in self.months or not self._day_fits(at):
                at = at.replace(hour=0, minute=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0) + timedelta(hours=1)
            elif at.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _day_fits(self, at: datetime) -> bool:
        day, weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.any_day or self.any_weekday else (day or weekday)


def parse(text: str) -> Schedule:
    """`*/5 * * * mon-fri`, `@daily` or `@every 1h30m`. Raises CronError."""
    if not text:
        raise CronError("empty spec string")
    if text.startswith("@"):
        return _descriptor(text)
    words = text.split()
    if len(words) != len(_FIELDS):
        shown = " ".join(words)[:_SHOWN]
        raise CronError(f"expected exactly 5 fields, found {len(words)}: [{shown}]")
    minutes, hours, days, months, weekdays = map(_set, words, _FIELDS)
    starred = [any(part[0] in "*?" for part in word.split(",") if part) for word in words]
    return Schedule(minutes, hours, days, months, weekdays, starred[2], starred[4])


def _descriptor(text: str) -> Schedule:
    if found := _DESCRIPTORS.get(text):
        return parse(found)
    if not text.startswith(_EVERY):
        raise CronError(f"unrecognized descriptor: {text[:_SHOWN]}")
    seconds = _duration(text.removeprefix(_EVERY))
    if seconds is None:
        wrong = text.removeprefix(_EVERY)[:_SHOWN]
        why = f'time: invalid duration "{wrong}"'
        raise CronError(f"failed to parse duration {text[:_SHOWN]}: {why}")
    # Shorter pauses than a second are one.
    return Schedule(every=timedelta(seconds=max(1, int(seconds))))


def _duration(text: str) -> float | None:
    """Seconds of a Go duration, such as 1h30m."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return seconds if seconds < timedelta.max.total_seconds() / 2 else None


def _set(word: str, bounds: _Bounds) -> frozenset[int]:
    found: set[int] = set()
    for part in filter(None, word.split(",")):
        found |= _range(part, bounds)
    return frozenset(found)


def _range(part: str, bounds: _Bounds) -> set[int]:
    """`*`, `5`, `mon-fri`, `10-50/5`, `3/2` (from 3 to the end)."""
    span, slash, step_text = part.partition("/")
    if "/" in step_text:
        raise CronError(f"too many slashes: {part[:_SHOWN]}")
    first_text, dash, last_text = span.partition("-")
    if "-" in last_text:
        raise CronError(f"too many hyphens: {part[:_SHOWN]}")
    if first_text in ("*", "?"):
        first, last = bounds.least, bounds.most
    else:
        first = _number(first_text, bounds.names)
        last = _number(last_text, bounds.names) if dash else first
    step = 1
    if slash:
        step = _number(step_text, {})
        last = bounds.most if not dash else last
    _check(first, last, step, part[:_SHOWN], bounds)
    return set(range(first, last + 1, step))


def _check(first: int, last: int, step: int, part: str, bounds: _Bounds) -> None:
    if first < bounds.least:
        raise CronError(f"beginning of range ({first}) below minimum ({bounds.least}): {part}")
    if last > bounds.most:
        raise CronError(f"end of range ({last}) above maximum ({bounds.most}): {part}")
    if first > last:
        raise CronError(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {part}")


def _number(text: str, names: dict[str, int]) -> int:
    if (named := names.get(text.lower())) is not None:
        return named
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        why = f'strconv.Atoi: parsing "{text[:_SHOWN]}": invalid syntax'
        raise CronError(f"failed to parse int from {text[:_SHOWN]}: {why}")
    return int(text)
