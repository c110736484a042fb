"""A component's journal for people: our JSON lines as one short line each. Pure.

systemd prefixes time, machine and process; the line behind it is JSON from our components, and
plain text from systemd itself and from others.
"""

from __future__ import annotations

import json
import re

# short-iso-precise: when, machine, identifier[pid]: message
_LINE = re.compile(r"^(?P<when>\d{4}-\S+) (?P<machine>\S+) (?P<who>[^:]+): (?P<message>.*)$")
_OWN = ("ts", "level", "logger", "msg", "traceback")


def readable(line: str) -> str:
    """`line` of journalctl, with our JSON as `LEVEL event key=value ...`; others as they are."""
    found = _LINE.match(line)
    if found is None:
        return line
    try:
        entry = json.loads(found["message"])
        level, event = str(entry["level"]).upper(), entry["msg"]
    except (ValueError, KeyError, TypeError):
        return f"{found['when']} {found['machine']} {found['message']}"
    fields = "".join(f" {key}={_word(value)}" for key, value in entry.items() if key not in _OWN)
    text = f"{found['when']} {found['machine']} {level:<7} {event}{fields}"
    return "\n".join([text, *str(entry.get("traceback", "")).splitlines()])


def _word(value: object) -> str:
    """Quoted only where it would not be seen where the value ends."""
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if isinstance(value, str) and (" " in text or not text) else text


class Lines:
    """Whole lines out of a stream of bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]
