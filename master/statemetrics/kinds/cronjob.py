"""CronJobs. When the next run is, only the controller knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.batch import CronJob
from master.statemetrics.family import Family, Sample, StateKind, plain
from master.statemetrics.metadata import created, identity, resource_version, timestamp


def _info(cronjob: CronJob) -> Iterable[Sample]:
    labels = {
        "schedule": cronjob.spec.schedule,
        "concurrency_policy": cronjob.spec.concurrency_policy,
        "timezone": cronjob.spec.time_zone or "local",
    }
    return ((labels, 1),)


KIND = StateKind(
    "cronjobs",
    CronJob,
    identity("cronjob"),
    (
        Family("kube_cronjob_info", "A CronJob.", _info),
        created("kube_cronjob"),
        resource_version("kube_cronjob"),
        plain(
            "kube_cronjob_status_active", "Its running Jobs.", lambda c: float(len(c.status.active))
        ),
        plain(
            "kube_cronjob_status_last_schedule_time",
            "Unix time of its last run.",
            lambda c: timestamp(c.status.last_schedule_time),
        ),
        plain(
            "kube_cronjob_status_last_successful_time",
            "Unix time of its last success.",
            lambda c: timestamp(c.status.last_successful_time),
        ),
        plain(
            "kube_cronjob_spec_suspend",
            "Whether it is suspended.",
            lambda c: float(bool(c.spec.suspend)),
        ),
        plain(
            "kube_cronjob_spec_starting_deadline_seconds",
            "How late a run may start.",
            lambda c: c.spec.starting_deadline_seconds,
        ),
        plain(
            "kube_cronjob_spec_successful_job_history_limit",
            "Successful Jobs that are kept.",
            lambda c: c.spec.successful_jobs_history_limit,
        ),
        plain(
            "kube_cronjob_spec_failed_job_history_limit",
            "Failed Jobs that are kept.",
            lambda c: c.spec.failed_jobs_history_limit,
        ),
    ),
)
