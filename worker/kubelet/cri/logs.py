"""The CRI log format: `TIME STREAM P|F CONTENT`, one record a line. Pure.

A long line is stored as several partial records (P), the last one full (F); together they
are one line of output.
"""

from __future__ import annotations

from dataclasses import dataclass

from kube.machinery.times import to_seconds

# No runtime writes longer records (containerd 16 KiB, conmon 8): what is longer is no log.
MAX_RECORD = 1 << 20


@dataclass(frozen=True, slots=True)
class LogRecord:
    time: bytes
    stream: bytes
    partial: bool
    content: bytes


def parse_record(line: bytes) -> LogRecord | None:
    """One line of the file, without its newline. None for what is no record."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    # Tags may be joined by colons; only the first one means something.
    partial = parts[2].split(b":")[0] == b"P"
    return LogRecord(parts[0], parts[1], partial, parts[3] if len(parts) == 4 else b"")


def _is_new_enough(record: LogRecord, since: float) -> bool:
    try:
        return to_seconds(record.time.decode()) >= since
    except ValueError:
        return True


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of `kubectl logs`, parsed."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: float | None = None
    stream: str = "All"

    @classmethod
    def parse(cls, query: dict[str, str], now: float) -> LogOptions:
        """Raises ValueError that names the parameter."""
        since: float | None = None
        if seconds := query.get("sinceSeconds"):
            since = now - _number("sinceSeconds", seconds, least=1)
        elif text := query.get("sinceTime"):
            try:
                since = to_seconds(text)
            except ValueError as error:
                raise ValueError(f"sinceTime: {error}") from error
        tail, limit = query.get("tailLines"), query.get("limitBytes")
        return cls(
            follow=_flag(query, "follow"),
            previous=_flag(query, "previous"),
            timestamps=_flag(query, "timestamps"),
            tail_lines=_number("tailLines", tail, least=0) if tail else None,
            limit_bytes=_number("limitBytes", limit, least=1) if limit else None,
            since=since,
            stream=query.get("stream", "All") or "All",
        )


def _flag(query: dict[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _number(name: str, text: str, *, least: int) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise ValueError(f'{name}: "{text}" is not a number') from error
    if value < least:
        raise ValueError(f"{name}: must be at least {least}")
    return value


class LogFormatter:
    """Turns pieces of a log file into what the user sees. Keeps unfinished lines."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._rest = b""
        self._inside_line = False
        self._left = options.limit_bytes

    @property
    def exhausted(self) -> bool:
        """Whether limitBytes is used up."""
        return self._left is not None and self._left <= 0

    def feed(self, data: bytes) -> bytes:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:MAX_RECORD]
        return self._limited(b"".join(map(self._render, lines)))

    def _render(self, line: bytes) -> bytes:
        record = parse_record(line)
        if record is None or not self._wanted(record):
            return b""
        prefix = b""
        if self._options.timestamps and not self._inside_line:
            # conmon writes the zone of UTC in digits, upstream's kubelet shows it as Z.
            prefix = record.time.replace(b"+00:00", b"Z") + b" "
        self._inside_line = record.partial
        return prefix + record.content + (b"" if record.partial else b"\n")

    def _wanted(self, record: LogRecord) -> bool:
        options = self._options
        if options.stream != "All" and options.stream.lower().encode() != record.stream:
            return False
        return options.since is None or _is_new_enough(record, options.since)

    def _limited(self, text: bytes) -> bytes:
        if self._left is None:
            return text
        text = text[: max(self._left, 0)]
        self._left -= len(text)
        return text
