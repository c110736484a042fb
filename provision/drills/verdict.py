"""Measured figures against stated levels. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provision.drills.spec import Level


class Verdict(enum.StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    WARN = "passed with warnings"

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 passed with warnings (2 is `nothing ran`, an error)."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.WARN: 3}[self]


@dataclass(frozen=True, slots=True)
class Finding:
    """One level and what was measured of it. What was not measured is not met."""

    metric: str
    limit: float
    measured: float | None
    severity: str

    @property
    def met(self) -> bool:
        return self.measured is not None and self.measured <= self.limit


def judge(
    levels: Sequence[Level], metrics: Mapping[str, float | None], profile: str
) -> tuple[Verdict, tuple[Finding, ...]]:
    findings = tuple(
        Finding(level.metric, level.max.of(profile), metrics.get(level.metric), level.severity)
        for level in levels
    )
    broken = {finding.severity for finding in findings if not finding.met}
    if "fail" in broken:
        return Verdict.FAIL, findings
    return (Verdict.WARN if broken else Verdict.PASS), findings
