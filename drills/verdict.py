"""Measured figures against stated levels."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drills.base import of
from drills.spec import Level


class Verdict(enum.StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    WARN = "passed with warnings"
    ABORTED = "aborted"  # by one of its own abort conditions
    INTERRUPTED = "interrupted"  # by the user, or by an error; judged no further

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 passed with warnings (2 is `nothing ran`, an error)."""
        return {Verdict.PASS: 0, Verdict.WARN: 3}.get(self, 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One level and what was measured of it. What was not measured is not met."""

    metric: str
    limit: float
    measured: float | None
    severity: str
    at_least: bool = False  # the limit is a lower one

    @property
    def met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def findings(
    levels: Sequence[Level], metrics: Mapping[str, float | None], profile: str
) -> tuple[Finding, ...]:
    """Each limit of each level, beside what was measured."""
    return tuple(
        Finding(level.metric, of(limit, profile), metrics.get(level.metric), level.severity, lower)
        for level in levels
        for limit, lower in ((level.max, False), (level.min, True))
        if limit is not None
    )


def judge(
    levels: Sequence[Level], metrics: Mapping[str, float | None], profile: str
) -> tuple[Verdict, tuple[Finding, ...]]:
    found = findings(levels, metrics, profile)
    broken = {finding.severity for finding in found if not finding.met}
    if "fail" in broken:
        return Verdict.FAIL, found
    return (Verdict.WARN if broken else Verdict.PASS), found
