"""Pods. Their containers' families are in `container.py`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kube.api.core import Pod, PodCondition
from kube.machinery.conditions import find
from kube.machinery.quantity import parse
from master.statemetrics.family import Family, Sample, StateKind, one_of, plain, statuses
from master.statemetrics.kinds import container
from master.statemetrics.metadata import created, deleted, identity, owner, timestamp

_PHASES = ("Pending", "Succeeded", "Failed", "Unknown", "Running")
_QOS = ("BestEffort", "Burstable", "Guaranteed")
_REASONS = (
    "Evicted", "NodeAffinity", "NodeLost", "PreemptionByScheduler", "SchedulingGated", "Shutdown",
    "TerminationByKubelet", "UnexpectedAdmissionError",
)  # fmt: skip
_DISRUPTIONS = (
    "PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC",
    "TerminationByKubelet",
)  # fmt: skip


def _info(pod: Pod) -> Iterable[Sample]:
    controller = next((ref for ref in pod.metadata.owner_references if ref.controller), None)
    labels = {
        "host_ip": pod.status.host_ip,
        "pod_ip": pod.status.pod_ip,
        "node": pod.spec.node_name,
        "created_by_kind": controller.kind if controller else "",
        "created_by_name": controller.name if controller else "",
        "priority_class": pod.spec.priority_class_name,
        "host_network": str(bool(pod.spec.host_network)).lower(),
    }
    return ((labels, 1),)


def _ips(pod: Pod) -> Iterable[Sample]:
    for address in pod.status.pod_ips:
        yield {"ip": address.ip, "ip_family": "6" if ":" in address.ip else "4"}, 1


def _condition(pod: Pod, type_: str) -> PodCondition | None:
    return find(pod.status.conditions, type_)


def _status_of(type_: str) -> Callable[[Pod], Iterable[Sample]]:
    def samples(pod: Pod) -> Iterable[Sample]:
        condition = _condition(pod, type_)
        return statuses(condition.status, "condition") if condition else ()

    return samples


def _since(type_: str, status: str = "True") -> Callable[[Pod], float | None]:
    def since(pod: Pod) -> float | None:
        condition = _condition(pod, type_)
        if condition is None or condition.status != status:
            return None
        return timestamp(condition.last_transition_time)

    return since


def _unschedulable(pod: Pod) -> float | None:
    condition = _condition(pod, "PodScheduled")
    unplaced = condition is not None and condition.status == "False"
    return 1 if unplaced and condition and condition.reason == "Unschedulable" else None


def _reasons(pod: Pod) -> Iterable[Sample]:
    given = {pod.status.reason, *(condition.reason for condition in pod.status.conditions)}
    for status in pod.status.container_statuses:
        ended = status.state.terminated if status.state else None
        given.add(ended.reason if ended else "")
    for reason in _REASONS:
        if reason in given:
            yield {"reason": reason}, 1
    if pod.status.reason and pod.status.reason not in _REASONS:
        yield {"reason": "Other"}, 1


def _disruptions(pod: Pod) -> Iterable[Sample]:
    condition = _condition(pod, "DisruptionTarget")
    if condition is not None and condition.status == "True":
        reason = condition.reason
        yield {"reason": reason if reason in _DISRUPTIONS else "Other"}, 1


def _completion(pod: Pod) -> float | None:
    ends = (
        timestamp(status.state.terminated.finished_at)
        for status in pod.status.container_statuses
        if status.state and status.state.terminated
    )
    return max(filter(None, ends), default=None)


def _tolerations(pod: Pod) -> Iterable[Sample]:
    for toleration in pod.spec.tolerations:
        seconds = toleration.toleration_seconds
        yield (
            {
                "key": toleration.key,
                "operator": toleration.operator,
                "value": toleration.value,
                "effect": toleration.effect,
                "toleration_seconds": "" if seconds is None else str(seconds),
            },
            1,
        )


def _overhead(resource: str) -> Callable[[Pod], float | None]:
    def amount(pod: Pod) -> float | None:
        quantity = pod.spec.overhead.get(resource)
        return None if quantity is None else float(parse(quantity))

    return amount


def _claims(pod: Pod, value: Callable[[bool], float]) -> Iterable[Sample]:
    for volume in pod.spec.volumes:
        claim = volume.persistent_volume_claim
        if claim is None and volume.ephemeral is None:
            continue
        name = claim.claim_name if claim else f"{pod.metadata.name}-{volume.name}"
        labels = {
            "volume": volume.name,
            "persistentvolumeclaim": name,
            "ephemeral": str(claim is None).lower(),
        }
        yield labels, value(bool(claim and claim.read_only))


def _named(label: str, name: Callable[[Pod], str]) -> Callable[[Pod], Iterable[Sample]]:
    def samples(pod: Pod) -> Iterable[Sample]:
        value = name(pod)
        return (({label: value}, 1),) if value else ()

    return samples


_POD: tuple[Family[Pod], ...] = (
    Family("kube_pod_info", "A pod.", _info),
    Family("kube_pod_ips", "The pod's addresses.", _ips),
    created("kube_pod"),
    deleted("kube_pod"),
    plain(
        "kube_pod_start_time", "Unix time of its start.", lambda p: timestamp(p.status.start_time)
    ),
    plain("kube_pod_completion_time", "Unix time of its last container's end.", _completion),
    owner("kube_pod"),
    Family(
        "kube_pod_restart_policy",
        "The pod's restart policy.",
        _named("type", lambda pod: pod.spec.restart_policy),
    ),
    Family(
        "kube_pod_runtimeclass_name_info",
        "The pod's runtime class.",
        _named("runtimeclass_name", lambda pod: pod.spec.runtime_class_name),
    ),
    Family(
        "kube_pod_service_account",
        "The pod's service account.",
        lambda pod: (({"service_account": pod.spec.service_account_name}, 1),),
    ),
    Family(
        "kube_pod_scheduler",
        "Who schedules the pod.",
        lambda pod: (({"name": pod.spec.scheduler_name}, 1),),
    ),
    Family(
        "kube_pod_status_phase",
        "The pod's phase.",
        lambda pod: one_of("phase", _PHASES, pod.status.phase) if pod.status.phase else (),
    ),
    Family(
        "kube_pod_status_qos_class",
        "The pod's quality of service.",
        lambda pod: one_of("qos_class", _QOS, pod.status.qos_class) if pod.status.qos_class else (),
    ),
    Family("kube_pod_status_ready", "Whether the pod is Ready.", _status_of("Ready")),
    Family("kube_pod_status_scheduled", "Whether it has a node.", _status_of("PodScheduled")),
    plain("kube_pod_status_scheduled_time", "Since when it has a node.", _since("PodScheduled")),
    plain("kube_pod_status_unschedulable", "No node fits the pod.", _unschedulable),
    plain(
        "kube_pod_status_unscheduled_time",
        "Since when it has no node.",
        _since("PodScheduled", "False"),
    ),
    plain(
        "kube_pod_status_initialized_time", "Since when it is initialized.", _since("Initialized")
    ),
    plain("kube_pod_status_ready_time", "Since when it is Ready.", _since("Ready")),
    plain(
        "kube_pod_status_container_ready_time",
        "Since when its containers are ready.",
        _since("ContainersReady"),
    ),
    Family("kube_pod_status_reason", "Why the pod is as it is.", _reasons),
    Family("kube_pod_status_disruption_reason", "Why the pod is taken away.", _disruptions),
    Family("kube_pod_tolerations", "The pod's tolerations.", _tolerations),
    plain("kube_pod_overhead_cpu_cores", "CPU of its sandbox.", _overhead("cpu")),
    plain("kube_pod_overhead_memory_bytes", "Memory of its sandbox.", _overhead("memory")),
    Family(
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
        "The claims among its volumes.",
        lambda pod: _claims(pod, lambda _: 1),
    ),
    Family(
        "kube_pod_spec_volumes_persistentvolumeclaims_readonly",
        "Whether such a volume is mounted read-only.",
        lambda pod: _claims(pod, float),
    ),
)
KIND = StateKind(
    "pods",
    Pod,
    identity("pod", uid=True),
    (*_POD, *container.APP.families(), *container.INIT.families()),
)
