"""Jobs (pkg/apis/batch/v1/defaults.go, pkg/registry/batch/job/strategy.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from kube.api.batch import Job, JobSpec, JobStatus, PodFailurePolicy, PodFailurePolicyRule
from kube.api.meta import LabelSelector
from kube.machinery.scheme import resource_for
from kube.machinery.times import parse_time
from master.apiserver.kinds.apps.template import default_template, value_or
from master.apiserver.kinds.cell import age, containers, human_duration, selector
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.metadata import with_meta
from master.apiserver.registry.validation.batch import (
    NAME,
    OLD_NAME,
    OLD_UID,
    UID,
    validate_job,
    validate_job_update,
)

BACKOFF_LIMIT = 6
UNLIMITED = 2**31 - 1
# In the order in which they are looked for.
_STATES = (
    ("Complete", "Complete"),
    ("Failed", "Failed"),
    ("", "Terminating"),
    ("Suspended", "Suspended"),
    ("FailureTarget", "FailureTarget"),
    ("SuccessCriteriaMet", "SuccessCriteriaMet"),
)


def on_create(obj: Job) -> Job:
    made = replace(obj, status=JobStatus())
    # Upstream fills in defaults whenever it reads: labels that the template got now are the Job's.
    return made if obj.spec.manual_selector else default(_with_selector(made))


def _with_selector(obj: Job) -> Job:
    """Pods are told apart by labels that no other Job has. What its user set stays, for
    validation to judge."""
    name, uid = obj.metadata.name, obj.metadata.uid
    spec, template = obj.spec, obj.spec.template
    own = {OLD_NAME: name, OLD_UID: uid, NAME: name, UID: uid}
    meta = replace(template.metadata, labels={**own, **template.metadata.labels})
    template = replace(template, metadata=meta)
    wanted = spec.selector or LabelSelector()
    wanted = replace(wanted, match_labels={UID: uid, **wanted.match_labels})
    return replace(obj, spec=replace(spec, template=template, selector=wanted))


def default(obj: Job) -> Job:
    labels = obj.metadata.labels or obj.spec.template.metadata.labels
    return with_meta(replace(obj, spec=_default_spec(obj.spec)), labels=labels)


def _default_spec(spec: JobSpec) -> JobSpec:
    completions = spec.completions
    if completions is None and spec.parallelism is None:
        completions = 1
    limit = BACKOFF_LIMIT if spec.backoff_limit_per_index is None else UNLIMITED
    replaced = "Failed" if spec.pod_failure_policy else "TerminatingOrFailed"
    return replace(
        spec,
        completions=completions,
        parallelism=value_or(spec.parallelism, 1),
        backoff_limit=value_or(spec.backoff_limit, limit),
        completion_mode=spec.completion_mode or "NonIndexed",
        suspend=spec.suspend or False,
        manual_selector=spec.manual_selector or False,
        pod_replacement_policy=spec.pod_replacement_policy or replaced,
        pod_failure_policy=default_failure_policy(spec.pod_failure_policy),
        template=default_template(spec.template),
    )


def default_failure_policy(policy: PodFailurePolicy | None) -> PodFailurePolicy | None:
    return policy and replace(policy, rules=tuple(_rule(rule) for rule in policy.rules))


def _rule(rule: PodFailurePolicyRule) -> PodFailurePolicyRule:
    patterns = tuple(replace(p, status=p.status or "True") for p in rule.on_pod_conditions)
    return replace(rule, on_pod_conditions=patterns)


class _Succeeded(Struct, rename="camel", frozen=True):
    succeeded: int = 0


class _Job(Part, rename="camel", frozen=True):
    status: _Succeeded = _Succeeded()


def selectable(job: _Job) -> dict[str, str]:
    return {"status.successful": str(job.status.succeeded)}


def cells(obj: Job, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    return [
        obj.metadata.name,
        _state(obj),
        _completions(obj),
        _duration(obj, now),
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
        selector(obj.spec.selector),
    ]


def _state(obj: Job) -> str:
    true = {c.type for c in obj.status.conditions if c.status == "True"}
    if obj.metadata.deletion_timestamp:
        true.add("")
    return next((shown for type_, shown in _STATES if type_ in true), "Running")


def _completions(obj: Job) -> str:
    done = obj.status.succeeded or 0
    if obj.spec.completions is not None:
        return f"{done}/{obj.spec.completions}"
    parallelism = obj.spec.parallelism or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(obj: Job, now: datetime) -> str:
    begun, ended = parse_time(obj.status.start_time), parse_time(obj.status.completion_time)
    return human_duration(((ended or now) - begun).total_seconds()) if begun else ""


KIND = Kind(
    resource=resource_for(Job),
    columns=columns("Name Status Completions Duration Age Containers+ Images+ Selector+"),
    cells=cells,
    fields=Fields(_Job, selectable),
    default=default,
    on_create=on_create,
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_job,
    validate_update=validate_job_update,
    counted=spec_of,
    orphans=True,
    subresources=(STATUS,),
)
