"""metav1.Time and metav1.MicroTime: what Go's decoder takes, in the form in which it is stored.

A Time is RFC 3339 and is kept in whole seconds of UTC; a MicroTime must have six digits of a
second and keeps them. Errors have the words of Go's time.Parse.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal

Kind = Literal["Time", "MicroTime"]
_LAYOUTS = {"Time": "2006-01-02T15:04:05Z07:00", "MicroTime": "2006-01-02T15:04:05.000000Z07:00"}
_STORED = {
    "Time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
    "MicroTime": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"),
}
# Go's layout, element by element, and what each takes.
_DAY = (("2006", r"[0-9]{4}"), ("-", "-"), ("01", r"[0-9]{2}"), ("-", "-"), ("02", r"[0-9]{2}"))
_HOUR = (("15", r"[0-9]{2}"), (":", ":"), ("04", r"[0-9]{2}"), (":", ":"), ("05", r"[0-9]{2}"))
_ZONE = (("Z07:00", r"Z|[+-][0-9]{2}:[0-9]{2}"),)
_FRACTIONS = {"Time": ("", r"([.,][0-9]+)?"), "MicroTime": (".000000", r"\.[0-9]{6}")}
_ELEMENTS = {
    kind: [
        (name, re.compile(pattern))
        for name, pattern in (*_DAY, ("T", "T"), *_HOUR, fraction, *_ZONE)
    ]
    for kind, fraction in _FRACTIONS.items()
}
_SHOWN = 64


class NotATime(ValueError):
    """The text is no time of that kind; the message is Go's."""


def is_stored_form(text: str, kind: Kind) -> bool:
    """Whether nothing has to be done. A date that does not exist is not in stored form."""
    if not _STORED[kind].fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def to_stored_form(text: str, kind: Kind) -> str:
    """The same moment as it is stored. Raises NotATime."""
    if is_stored_form(text, kind):
        return text
    layout = _LAYOUTS[kind]
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    rest, parts = text, []
    for name, pattern in _ELEMENTS[kind]:
        match = pattern.match(rest)
        if match is None:
            left = rest[:_SHOWN]
            raise NotATime(
                f'parsing time "{shown}" as "{layout}": cannot parse "{left}" as "{name}"'
            )
        parts.append(match[0])
        rest = rest[match.end() :]
    if rest:
        raise NotATime(f'parsing time "{shown}": extra text: "{rest[:_SHOWN]}"')
    *date, fraction, zone = parts
    text = "".join(date) + fraction.replace(",", ".")[:7] + zone
    try:
        when = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotATime(f'parsing time "{shown}": {error}') from error
    # Not strftime: it leaves out the leading zeros of a year.
    stored = when.replace(tzinfo=None).isoformat(
        timespec="microseconds" if kind == "MicroTime" else "seconds"
    )
    return f"{stored}Z"
