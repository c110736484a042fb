"""The scheduler's metrics, by upstream's names and labels."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FINE = tuple(0.001 * 2**power for power in range(15))
_SLI = tuple(0.01 * 2**power for power in range(20))

SLI = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds",
    "From when the pod was first seen to its binding, by the number of attempts.",
    ["attempts"],
    buckets=_SLI,
)
ALGORITHM = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds", "One decision.", buckets=_FINE
)
ATTEMPT = Histogram(
    "scheduler_scheduling_attempt_duration_seconds",
    "One attempt: decision and binding.",
    ["result", "profile"],
    buckets=_FINE,
)
ATTEMPTS = Counter("scheduler_schedule_attempts_total", "Attempts.", ["result", "profile"])
TRIES = Histogram(
    "scheduler_pod_scheduling_attempts", "Attempts that a pod took.", buckets=(1, 2, 4, 8, 16)
)
PENDING = Gauge("scheduler_pending_pods", "Pods that wait, by queue.", ["queue"])
CACHE_SIZE = Gauge("scheduler_scheduler_cache_size", "What the cache holds.", ["type"])

PROFILE = "default-scheduler"
SCHEDULED, UNSCHEDULABLE, ERROR = "scheduled", "unschedulable", "error"

# At 0 from the start: a rate does not miss the first pod.
SLI.labels(attempts="1")
for _result in (SCHEDULED, UNSCHEDULABLE, ERROR):
    ATTEMPT.labels(result=_result, profile=PROFILE)
    ATTEMPTS.labels(result=_result, profile=PROFILE)


def observe_attempt(result: str, seconds: float) -> None:
    ATTEMPT.labels(result=result, profile=PROFILE).observe(seconds)
    ATTEMPTS.labels(result=result, profile=PROFILE).inc()
