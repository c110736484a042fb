"""Validation of Jobs and CronJobs (pkg/apis/batch/validation). Pure."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from msgspec.structs import replace

from kube.api.batch import (
    CronJob,
    Job,
    JobSpec,
    JobTemplateSpec,
    PodFailurePolicy,
    PodFailurePolicyRule,
    SuccessPolicy,
)
from kube.api.core import PodTemplateSpec
from kube.api.meta import LabelSelector, StatusCause
from kube.machinery import cron
from kube.machinery.selectors import from_label_selector
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_label, qualified_name
from master.apiserver.registry.validation.selectors import validate_selector
from master.apiserver.registry.validation.template import (
    unchanged,
    validate_matches,
    validate_template,
)

Causes = list[StatusCause]
NAME, UID = "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid"
OLD_NAME, OLD_UID = "job-name", "controller-uid"
INDEXED = "Indexed"
MAX_INDEXED = 100_000
MAX_CRON_NAME = 52
MAX_RULES, MAX_EXIT_CODES, MAX_PATTERNS = 20, 255, 20
_MODES = ("NonIndexed", "Indexed")
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_STATUSES = ("False", "True", "Unknown")


def validate_job(job: Job) -> Causes:
    spec = job.spec
    causes = _job_spec(spec, "spec")
    if spec.selector is None:
        causes.append(field.required("spec.selector"))
    else:
        wrong = validate_selector(spec.selector, "spec.selector")
        causes += wrong or validate_matches(spec.selector, spec.template.metadata.labels)
    if not spec.manual_selector:
        causes += _own_labels(job)
    if spec.completion_mode == INDEXED and spec.completions:
        # Its last pod's name is a host name too.
        longest = f"{job.metadata.name}-{spec.completions - 1}"
        if why := dns_label(longest):
            causes.append(field.invalid("metadata.name", job.metadata.name, why))
    return causes


def _own_labels(job: Job) -> Causes:
    """What selects the pods is made by the server, and its user may not say otherwise."""
    given = job.spec.template.metadata.labels
    name, uid = job.metadata.name, job.metadata.uid
    wanted = {OLD_UID: uid, OLD_NAME: name, UID: uid, NAME: name}
    causes: Causes = []
    for key, value in wanted.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key in given and given[key] != value:
            causes.append(field.invalid(path, given[key], f"must be '{value}'"))
    parsed = from_label_selector(job.spec.selector)
    if parsed is not None and not parsed.matches(wanted):
        text = "`selector` not auto-generated"
        shown = job.spec.selector.match_labels if job.spec.selector else {}
        causes.append(field.invalid("spec.selector", {"matchLabels": shown}, text))
    return causes


def _job_spec(spec: JobSpec, path: str) -> Causes:
    causes: Causes = []
    for name, value in (
        ("parallelism", spec.parallelism),
        ("completions", spec.completions),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index),
        ("maxFailedIndexes", spec.max_failed_indexes),
    ):
        causes += formats.at_least(f"{path}.{name}", value, 0)
    causes += _indexes(spec, path)
    if spec.managed_by and (why := qualified_name(spec.managed_by)):
        causes.append(field.invalid(f"{path}.managedBy", spec.managed_by, why))
    causes += _replacement(spec, path)
    if spec.pod_failure_policy:
        causes += _failure_policy(spec.pod_failure_policy, spec, f"{path}.podFailurePolicy")
    if spec.success_policy:
        causes += _success_policy(spec.success_policy, spec, f"{path}.successPolicy")
    causes += validate_template(spec.template, f"{path}.template")
    return causes + _restarts(spec, f"{path}.template.spec.restartPolicy")


def _indexes(spec: JobSpec, path: str) -> Causes:
    causes: Causes = []
    indexed = spec.completion_mode == INDEXED
    # Nothing is said in a CronJob's template, and then means the first.
    if spec.completion_mode and spec.completion_mode not in _MODES:
        wrong = spec.completion_mode
        causes.append(field.not_supported(f"{path}.completionMode", wrong, _MODES))
    if indexed and spec.completions is None:
        text = f"when completion mode is {INDEXED}"
        causes.append(field.required(f"{path}.completions", text))
    if indexed and (spec.parallelism or 0) > MAX_INDEXED:
        text = f"must be less than or equal to {MAX_INDEXED} when completion mode is {INDEXED}"
        causes.append(field.invalid(f"{path}.parallelism", spec.parallelism, text))
    per_index, most = spec.backoff_limit_per_index, spec.max_failed_indexes
    if per_index is not None and not indexed:
        text = "requires indexed completion mode"
        causes.append(field.invalid(f"{path}.backoffLimitPerIndex", per_index, text))
    if most is not None and per_index is None:
        text = "when maxFailedIndexes is specified"
        causes.append(field.required(f"{path}.backoffLimitPerIndex", text))
    if most is not None and spec.completions is not None and most > spec.completions:
        text = "must be less than or equal to completions"
        causes.append(field.invalid(f"{path}.maxFailedIndexes", most, text))
    return causes


def _replacement(spec: JobSpec, path: str) -> Causes:
    choices = ("Failed",) if spec.pod_failure_policy else ("Failed", "TerminatingOrFailed")
    wanted = spec.pod_replacement_policy
    if not wanted or wanted in choices:
        return []
    return [field.not_supported(f"{path}.podReplacementPolicy", wanted, choices)]


def _restarts(spec: JobSpec, path: str) -> Causes:
    policy = spec.template.spec.restart_policy
    match policy:
        # The default of a pod, which is no choice of the user here.
        case "Always":
            return [field.required(path, 'valid values: "OnFailure", "Never"')]
        case "OnFailure" if spec.pod_failure_policy:
            text = 'only "Never" is supported when podFailurePolicy is specified'
            return [field.invalid(path, policy, text)]
        case "OnFailure" | "Never":
            return []
    return [field.not_supported(path, policy, ("OnFailure", "Never"))]


def _failure_policy(policy: PodFailurePolicy, spec: JobSpec, path: str) -> Causes:
    if len(policy.rules) > MAX_RULES:
        return [field.too_many(f"{path}.rules", len(policy.rules), MAX_RULES)]
    causes: Causes = []
    containers = {
        c.name for c in (*spec.template.spec.containers, *spec.template.spec.init_containers)
    }
    for index, rule in enumerate(policy.rules):
        here = f"{path}.rules[{index}]"
        causes += _failure_action(rule, spec, f"{here}.action")
        if bool(rule.on_exit_codes) == bool(rule.on_pod_conditions):
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            if rule.on_exit_codes:
                text = "specifying both OnExitCodes and OnPodConditions is not supported"
            causes.append(field.invalid(here, "", text))
        causes += _exit_codes(rule, containers, f"{here}.onExitCodes")
        causes += _pod_conditions(rule, f"{here}.onPodConditions")
    return causes


def _failure_action(rule: PodFailurePolicyRule, spec: JobSpec, path: str) -> Causes:
    if not rule.action:
        return [field.required(path, "valid values: " + ", ".join(f'"{a}"' for a in _ACTIONS))]
    if rule.action not in _ACTIONS:
        return [field.not_supported(path, rule.action, _ACTIONS)]
    if rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
        text = "requires the backoffLimitPerIndex to be set"
        return [field.invalid(path, rule.action, text)]
    return []


def _exit_codes(rule: PodFailurePolicyRule, containers: set[str], path: str) -> Causes:
    codes = rule.on_exit_codes
    if codes is None:
        return []
    causes: Causes = []
    if codes.operator not in _OPERATORS:
        wrong = field.not_supported(f"{path}.operator", codes.operator, _OPERATORS)
        causes.append(wrong if codes.operator else field.required(f"{path}.operator"))
    if codes.container_name and codes.container_name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        causes.append(field.invalid(f"{path}.containerName", codes.container_name, text))
    if not codes.values:
        causes.append(field.invalid(f"{path}.values", [], "at least one value is required"))
    if len(codes.values) > MAX_EXIT_CODES:
        causes.append(field.too_many(f"{path}.values", len(codes.values), MAX_EXIT_CODES))
        return causes
    if codes.operator == "In" and 0 in codes.values:
        here = f"{path}.values[{codes.values.index(0)}]"
        causes.append(field.invalid(here, 0, "must not be 0 for the In operator"))
    if list(codes.values) != sorted(codes.values):
        causes.append(field.invalid(f"{path}.values", list(codes.values), "must be ordered"))
    for index, value in enumerate(codes.values):
        if value in codes.values[:index]:
            causes.append(field.duplicate(f"{path}.values[{index}]", value))
    return causes


def _pod_conditions(rule: PodFailurePolicyRule, path: str) -> Causes:
    if len(rule.on_pod_conditions) > MAX_PATTERNS:
        return [field.too_many(path, len(rule.on_pod_conditions), MAX_PATTERNS)]
    causes: Causes = []
    for index, pattern in enumerate(rule.on_pod_conditions):
        here = f"{path}[{index}]"
        if why := qualified_name(pattern.type):
            causes.append(field.invalid(f"{here}.type", pattern.type, why))
        if pattern.status not in _STATUSES:
            causes.append(field.not_supported(f"{here}.status", pattern.status, _STATUSES))
    return causes


def _success_policy(policy: SuccessPolicy, spec: JobSpec, path: str) -> Causes:
    if spec.completion_mode != INDEXED:
        return [field.invalid(path, {}, "requires indexed completion mode")]
    if not policy.rules:
        return [field.required(f"{path}.rules", "at least one rules must be specified")]
    if len(policy.rules) > MAX_RULES:
        return [field.too_many(f"{path}.rules", len(policy.rules), MAX_RULES)]
    causes: Causes = []
    for index, rule in enumerate(policy.rules):
        here = f"{path}.rules[{index}]"
        if rule.succeeded_count is None and not rule.succeeded_indexes:
            text = "at least one of succeededCount or succeededIndexes must be specified"
            causes.append(field.required(here, text))
        causes += formats.at_least(f"{here}.succeededCount", rule.succeeded_count, 1)
        if (rule.succeeded_count or 0) > (spec.completions or 0):
            most = spec.completions
            text = f"must be less than or equal to {most} (the number of specified completions)"
            causes.append(field.invalid(f"{here}.succeededCount", rule.succeeded_count, text))
    return causes


def validate_job_update(new: Job, old: Job) -> Causes:
    causes = _completions_update(new.spec, old.spec)
    for name, ours, theirs in (
        ("selector", new.spec.selector, old.spec.selector),
        ("completionMode", new.spec.completion_mode, old.spec.completion_mode),
        ("podFailurePolicy", new.spec.pod_failure_policy, old.spec.pod_failure_policy),
        (
            "backoffLimitPerIndex",
            new.spec.backoff_limit_per_index,
            old.spec.backoff_limit_per_index,
        ),
        ("managedBy", new.spec.managed_by, old.spec.managed_by),
        ("successPolicy", new.spec.success_policy, old.spec.success_policy),
    ):
        causes += unchanged(f"spec.{name}", ours, theirs)
    template = old.spec.template
    if old.spec.suspend and not old.status.start_time:
        template = _scheduled_like(new.spec.template, template)
    return causes + unchanged("spec.template", new.spec.template, template)


def _completions_update(new: JobSpec, old: JobSpec) -> Causes:
    """An indexed Job grows and shrinks with its parallelism; others never (KEP-3715)."""
    path = "spec.completions"
    if new.completions == old.completions:
        return []
    if new.completions is None or old.completions is None or new.completion_mode != INDEXED:
        return unchanged(path, new.completions, old.completions)
    if new.completions != new.parallelism:
        text = (
            f"can only be modified in tandem with spec.parallelism to be equal to {new.parallelism}"
        )
        return [field.invalid(path, new.completions, text)]
    return []


def _scheduled_like(new: PodTemplateSpec, old: PodTemplateSpec) -> PodTemplateSpec:
    """What a queue may say before a suspended Job starts: where its pods run (KEP-2926)."""
    meta = replace(old.metadata, labels=new.metadata.labels, annotations=new.metadata.annotations)
    spec = replace(
        old.spec,
        node_selector=new.spec.node_selector,
        affinity=new.spec.affinity,
        tolerations=new.spec.tolerations,
        scheduling_gates=new.spec.scheduling_gates,
    )
    return replace(old, metadata=meta, spec=spec)


def validate_cronjob(obj: CronJob) -> Causes:
    spec = obj.spec
    causes: Causes = []
    if len(obj.metadata.name) > MAX_CRON_NAME:
        text = f"must be no more than {MAX_CRON_NAME} characters"
        causes.append(field.invalid("metadata.name", obj.metadata.name, text))
    causes += _schedule(spec.schedule, bool(spec.time_zone))
    causes += formats.at_least("spec.startingDeadlineSeconds", spec.starting_deadline_seconds, 0)
    causes += _time_zone(spec.time_zone)
    if spec.concurrency_policy not in _CONCURRENCY:
        path, wrong = "spec.concurrencyPolicy", spec.concurrency_policy
        causes.append(
            field.not_supported(path, wrong, _CONCURRENCY) if wrong else field.required(path)
        )
    causes += _job_template(spec.job_template or JobTemplateSpec(), "spec.jobTemplate")
    for name, value in (
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ):
        causes += formats.at_least(f"spec.{name}", value, 0)
    return causes


def _schedule(schedule: str, has_zone: bool) -> Causes:
    path = "spec.schedule"
    if not schedule:
        return [field.required(path)]
    if "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        if has_zone:
            text = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        return [field.invalid(path, schedule, text)]
    try:
        cron.parse(schedule)
    except cron.CronError as error:
        return [field.invalid(path, schedule, str(error))]
    return []


def _time_zone(zone: str) -> Causes:
    if not zone:
        return []
    if zone.lower() == "local":
        text = (
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        return [field.invalid("spec.timeZone", zone, text)]
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, KeyError):  # no name of a zone, or none of that name
        return [field.invalid("spec.timeZone", zone, f"unknown time zone {zone}")]
    return []


def _job_template(template: JobTemplateSpec, path: str) -> Causes:
    spec = template.spec
    causes = _job_spec(spec, f"{path}.spec")
    if spec.selector is not None:
        text = "`selector` will be auto-generated"
        shown = _shown(spec.selector)
        causes.append(field.invalid(f"{path}.spec.selector", shown, text))
    if spec.manual_selector:
        here = f"{path}.spec.manualSelector"
        causes.append(field.not_supported(here, True, ("nil", "false")))
    return causes


def _shown(selector: LabelSelector) -> object:
    return {"matchLabels": selector.match_labels}
