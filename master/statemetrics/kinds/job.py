"""Jobs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kube.api.batch import Job
from kube.machinery.conditions import find
from master.statemetrics.family import ONE, Family, Sample, StateKind, plain, statuses
from master.statemetrics.metadata import created, identity, owner, timestamp

_FAILURES = ("BackoffLimitExceeded", "DeadlineExceeded", "Evicted")


def _condition(type_: str) -> Callable[[Job], Iterable[Sample]]:
    def samples(job: Job) -> Iterable[Sample]:
        condition = find(job.status.conditions, type_)
        return statuses(condition.status, "condition") if condition else ()

    return samples


def _failed(job: Job) -> Iterable[Sample]:
    """Of a job that has failed, why, for the reasons that are told apart; else how many pods."""
    if not job.status.failed:
        return (({}, 0),)
    condition = find(job.status.conditions, "Failed")
    if condition is None or condition.reason not in _FAILURES:
        return (({"reason": ""}, job.status.failed),)
    return [({"reason": reason}, float(reason == condition.reason)) for reason in _FAILURES]


KIND = StateKind(
    "jobs",
    Job,
    identity("job_name"),
    (
        Family("kube_job_info", "A Job.", lambda _: (ONE,)),
        created("kube_job"),
        owner("kube_job"),
        plain("kube_job_spec_parallelism", "Pods at once.", lambda j: j.spec.parallelism),
        plain("kube_job_spec_completions", "Pods that must succeed.", lambda j: j.spec.completions),
        plain(
            "kube_job_spec_active_deadline_seconds",
            "How long it may run.",
            lambda j: j.spec.active_deadline_seconds,
        ),
        plain("kube_job_status_active", "Its running pods.", lambda j: j.status.active or 0),
        plain("kube_job_status_ready", "Its Ready pods.", lambda j: j.status.ready or 0),
        plain(
            "kube_job_status_succeeded",
            "Its pods that succeeded.",
            lambda j: j.status.succeeded or 0,
        ),
        Family("kube_job_status_failed", "Its pods that failed, or why it failed.", _failed),
        plain(
            "kube_job_status_suspended",
            "Whether it is suspended.",
            lambda j: None if j.spec.suspend is None else float(j.spec.suspend),
        ),
        plain(
            "kube_job_status_start_time",
            "Unix time of its start.",
            lambda j: timestamp(j.status.start_time),
        ),
        plain(
            "kube_job_status_completion_time",
            "Unix time of its end.",
            lambda j: timestamp(j.status.completion_time),
        ),
        Family("kube_job_complete", "Whether it is complete.", _condition("Complete")),
        Family("kube_job_failed", "Whether it has failed.", _condition("Failed")),
    ),
)
