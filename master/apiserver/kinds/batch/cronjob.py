"""CronJobs (pkg/apis/batch/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.batch import CronJob, CronJobStatus, JobTemplateSpec
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import default_template, fresh_status, value_or
from master.apiserver.kinds.batch.job import default_failure_policy
from master.apiserver.kinds.cell import NONE, age, containers, flag, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.batch import validate_cronjob

SUCCEEDED_KEPT, FAILED_KEPT = 3, 1


def default(obj: CronJob) -> CronJob:
    spec = obj.spec
    spec = replace(
        spec,
        concurrency_policy=spec.concurrency_policy or "Allow",
        suspend=spec.suspend or False,
        successful_jobs_history_limit=value_or(spec.successful_jobs_history_limit, SUCCEEDED_KEPT),
        failed_jobs_history_limit=value_or(spec.failed_jobs_history_limit, FAILED_KEPT),
        job_template=_job_template(spec.job_template or JobTemplateSpec()),
    )
    return replace(obj, spec=spec)


def _job_template(template: JobTemplateSpec) -> JobTemplateSpec:
    """Only the pods get their defaults: those of the Job it gets when it is made."""
    spec = replace(
        template.spec,
        pod_failure_policy=default_failure_policy(template.spec.pod_failure_policy),
        template=default_template(template.spec.template),
    )
    return replace(template, spec=spec)


def cells(obj: CronJob, now: datetime) -> Cells:
    job = (obj.spec.job_template or JobTemplateSpec()).spec
    names, images = containers(job.template.spec.containers)
    last = obj.status.last_schedule_time
    return [
        obj.metadata.name,
        obj.spec.schedule,
        obj.spec.time_zone or NONE,
        flag(obj.spec.suspend),
        len(obj.status.active),
        age(last, now) if last else NONE,
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selector(job.selector),
    ]


KIND = Kind(
    resource=resource_for(CronJob),
    columns=columns(
        "Name Schedule Timezone Suspend Active# Last_Schedule Age Containers+ Images+ Selector+"
    ),
    cells=cells,
    default=default,
    on_create=fresh_status(CronJobStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_cronjob,
    counted=spec_of,
    subresources=(STATUS,),
)
