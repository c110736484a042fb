"""Timestamps as the API writes them: metav1.Time (seconds) and metav1.MicroTime."""

from __future__ import annotations

from datetime import UTC, datetime


def format_time(when: datetime) -> str:
    """`2026-01-02T03:04:05Z`: metav1.Time, cut to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro(when: datetime) -> str:
    """`2026-01-02T03:04:05.123456Z`: metav1.MicroTime, as in Lease and Event."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime | None:
    """Either form back to an aware datetime; None for "" and for what is no timestamp."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def format_seconds(seconds: float) -> str:
    """metav1.Time of seconds since the epoch; "" for what never was (0)."""
    return format_time(datetime.fromtimestamp(seconds, UTC)) if seconds > 0 else ""


def to_seconds(text: str) -> float:
    """Seconds since the epoch of a timestamp with any number of digits. Raises ValueError."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def utc_now() -> datetime:
    """The wall clock, for shells to hand to pure cores."""
    return datetime.now(UTC)
