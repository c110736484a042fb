"""Which alerts a drill set off, by the rules of the lab's Prometheus, and when each would fire.

Most alerts wait minutes (`for`), and a drill is over in seconds: they never fire. So each rule's
expression is asked for over the time of the drill, and `for` is added to when it became true. What
was true before the fault is left out. Prometheus sees only what it scraped, every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

# What the report may cost at the end of a drill. Later answers are done without.
PATIENCE_SECONDS = 10.0
STEP_SECONDS = 1.0
# Labels that tell one instance of an alert from another, for who reads the report; and those that
# do where none of them is there, or else name whoever told of it.
_TELLING = (
    "namespace", "pod", "container", "node", "deployment", "statefulset", "daemonset", "job_name",
    "device", "mountpoint",
)  # fmt: skip
_TARGET = ("job", "instance")


@dataclass(frozen=True, slots=True)
class AlertSeen:
    """An alert whose expression became true in the drill. Instants are seconds since the epoch."""

    name: str
    severity: str
    about: str
    begin: float
    end: float | None  # None: it still was when the drill ended
    for_seconds: float

    @property
    def fires(self) -> float | None:
        """When it fires, or would if nothing changed after the drill; None: it went before."""
        when = self.begin + self.for_seconds
        return when if self.end is None or when <= self.end else None


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    query: str
    for_seconds: float
    severity: str


async def seen_by(url: str, fault_at: float, end: float) -> tuple[AlertSeen, ...]:
    """The alerts of the drill, the earliest first; none where Prometheus does not answer."""
    if not url or not fault_at:
        return ()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession(url) as session:
            rules = list(_rules(await _get(session, "/api/v1/rules", {"type": "alert"})))
            answers = [
                await _get(
                    session,
                    "/api/v1/query_range",
                    {"query": rule.query, "start": fault_at - STEP_SECONDS, "end": end,
                     "step": STEP_SECONDS},
                )
                for rule in rules
            ]  # fmt: skip
    except (TimeoutError, aiohttp.ClientError, msgspec.DecodeError, KeyError):
        return ()
    found = [
        alert
        for rule, answer in zip(rules, answers, strict=True)
        for alert in _alerts(rule, answer.get("data", {}).get("result", ()), fault_at, end)
    ]
    return tuple(sorted(found, key=lambda alert: (alert.begin, alert.name, alert.about)))


async def _get(session: aiohttp.ClientSession, path: str, params: dict[str, Any]) -> dict[str, Any]:
    async with session.get(path, params=params) as response:
        answer: dict[str, Any] = msgspec.json.decode(await response.read())
        return answer


def _rules(answer: dict[str, Any]) -> Iterator[_Rule]:
    for group in answer["data"]["groups"]:
        for rule in group["rules"]:
            yield _Rule(
                rule["name"], rule["query"], float(rule["duration"]),
                rule["labels"].get("severity", ""),
            )  # fmt: skip


def _alerts(
    rule: _Rule, series: Sequence[dict[str, Any]], fault_at: float, end: float
) -> Iterator[AlertSeen]:
    for one in series:
        instants = [float(at) for at, _ in one["values"]]
        if instants[0] < fault_at:
            continue  # it was so before
        gone = end - instants[-1] > 2 * STEP_SECONDS
        labels = one["metric"]
        about = _named(labels, _TELLING) or _named(labels, _TARGET)
        yield AlertSeen(
            rule.name, rule.severity, about, instants[0], instants[-1] if gone else None,
            rule.for_seconds,
        )  # fmt: skip


def _named(labels: dict[str, str], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={labels[key]}" for key in keys if key in labels)
