"""The state of a probe: from single outcomes to a result, by thresholds. Pure.

Follows upstream's `prober/worker.go`. The shell (`prober`) runs the probes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from kube.api import core


class Kind(StrEnum):
    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


class Result(StrEnum):
    UNKNOWN = "unknown"
    SUCCESS = "successful"
    FAILURE = "failed"


# How many readiness probes follow quickly after a container's start.
FAST_PROBES = 10

# What holds before the first probe: alive, not ready, not known to have started.
INITIAL = {
    Kind.STARTUP: Result.UNKNOWN,
    Kind.LIVENESS: Result.SUCCESS,
    Kind.READINESS: Result.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe's answer."""

    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The probe's numbers with the API's defaults filled in."""

    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: core.Probe) -> Settings:
        return cls(
            initial_delay=float(probe.initial_delay_seconds or 0),
            period=float(probe.period_seconds or 10),
            timeout=float(probe.timeout_seconds or 1),
            successes=probe.success_threshold or 1,
            failures=probe.failure_threshold or 3,
        )


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The published result, and the run of equal outcomes that may change it."""

    result: Result
    last_ok: bool | None = None
    run: int = 0
    succeeded: bool = False  # ever

    @classmethod
    def initial(cls, kind: Kind) -> ProbeState:
        return cls(INITIAL[kind])

    def observe(self, outcome: Outcome, settings: Settings) -> ProbeState:
        """The state after one more outcome; the result turns when the run is long enough."""
        run = self.run + 1 if outcome.ok == self.last_ok else 1
        needed = settings.successes if outcome.ok else settings.failures
        state = replace(self, last_ok=outcome.ok, run=run, succeeded=self.succeeded or outcome.ok)
        if run < needed:
            return state
        return replace(state, result=Result.SUCCESS if outcome.ok else Result.FAILURE)


def probe_of(container: core.Container, kind: Kind) -> core.Probe | None:
    return {
        Kind.STARTUP: container.startup_probe,
        Kind.LIVENESS: container.liveness_probe,
        Kind.READINESS: container.readiness_probe,
    }[kind]


def first_delay(age: float, settings: Settings) -> float:
    """Seconds until the first probe of a container that has run for `age` seconds."""
    return max(settings.initial_delay - age, 0.0)


def is_quick_repeat(kind: Kind, state: ProbeState) -> bool:
    """Whether a readiness probe after `state` is one of the quick ones after the first.

    Their failures are no news, so nobody is told about them.
    """
    return kind is Kind.READINESS and not state.succeeded and 0 < state.run <= FAST_PROBES


def next_delay(kind: Kind, state: ProbeState, settings: Settings) -> float:
    """Seconds until the next probe.

    Readiness is asked more often until its first success: a pod should not wait a whole
    period when the program was a moment late. Failures of other probes are counted, so their
    period is the user's.
    """
    if is_quick_repeat(kind, state) or (kind is Kind.READINESS and not state.run):
        return min(settings.period, 0.1 * 1.5 ** max(state.run - 1, 0))
    return settings.period
