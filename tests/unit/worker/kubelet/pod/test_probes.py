"""The state machine of a probe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import core
from worker.kubelet.pod.probes import (
    Kind,
    Outcome,
    ProbeState,
    Result,
    Settings,
    first_delay,
    next_delay,
)

OK, BAD = Outcome(True), Outcome(False, "no")
DEFAULTS = Settings.of(core.Probe())


def after(kind: Kind, outcomes: list[Outcome], settings: Settings = DEFAULTS) -> ProbeState:
    state = ProbeState.initial(kind)
    for outcome in outcomes:
        state = state.observe(outcome, settings)
    return state


def test_defaults_are_the_apis() -> None:
    assert Settings(initial_delay=0, period=10, timeout=1, successes=1, failures=3) == DEFAULTS


@pytest.mark.parametrize(
    ("kind", "initial"),
    [
        (Kind.LIVENESS, Result.SUCCESS),
        (Kind.READINESS, Result.FAILURE),
        (Kind.STARTUP, Result.UNKNOWN),
    ],
)
def test_before_the_first_probe(kind: Kind, initial: Result) -> None:
    assert after(kind, []).result is initial


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ([BAD, BAD], Result.SUCCESS),
        ([BAD, BAD, BAD], Result.FAILURE),
        ([BAD, BAD, OK, BAD, BAD], Result.SUCCESS),
        ([BAD, BAD, BAD, OK], Result.SUCCESS),
    ],
)
def test_liveness_turns_at_the_threshold(outcomes: list[Outcome], result: Result) -> None:
    assert after(Kind.LIVENESS, outcomes).result is result


def test_the_success_threshold_counts_in_a_row() -> None:
    settings = Settings.of(core.Probe(success_threshold=2))
    assert after(Kind.READINESS, [OK], settings).result is Result.FAILURE
    assert after(Kind.READINESS, [OK, BAD, OK], settings).result is Result.FAILURE
    assert after(Kind.READINESS, [OK, OK], settings).result is Result.SUCCESS


@given(
    st.lists(st.booleans(), max_size=30),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(Kind),
)
def test_the_result_is_that_of_the_last_long_enough_run(
    oks: list[bool], successes: int, failures: int, kind: Kind
) -> None:
    settings = Settings.of(core.Probe(success_threshold=successes, failure_threshold=failures))
    expected = ProbeState.initial(kind).result
    run, last = 0, None
    for ok in oks:
        run = run + 1 if ok == last else 1
        last = ok
        if run >= (successes if ok else failures):
            expected = Result.SUCCESS if ok else Result.FAILURE
    assert after(kind, [OK if ok else BAD for ok in oks], settings).result is expected


def test_the_initial_delay_counts_from_the_containers_start() -> None:
    settings = Settings.of(core.Probe(initial_delay_seconds=5))
    assert first_delay(2.0, settings) == 3.0
    assert first_delay(60.0, settings) == 0.0


def test_readiness_is_asked_again_soon_until_its_first_success() -> None:
    fresh = after(Kind.READINESS, [BAD])
    assert next_delay(Kind.READINESS, fresh, DEFAULTS) < 1
    steady = after(Kind.READINESS, [OK, BAD, BAD, BAD])
    assert next_delay(Kind.READINESS, steady, DEFAULTS) == 10


@pytest.mark.parametrize("kind", [Kind.STARTUP, Kind.LIVENESS])
def test_counted_failures_keep_the_users_period(kind: Kind) -> None:
    """failureThreshold x period is how long a program may take to start."""
    assert next_delay(kind, after(kind, [BAD]), DEFAULTS) == 10
