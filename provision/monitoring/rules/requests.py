"""What pods use, what they asked for, and what there is. Pure."""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group, Record

_POD = """on (cluster, namespace, pod) group_left (node) max by (cluster, namespace, pod, node) (
kube_pod_info{node!=""})"""
_ALIVE = """on (cluster, namespace, pod) group_left () max by (cluster, namespace, pod) (
kube_pod_status_phase{phase=~"Pending|Running"} == 1)"""
_USED = 'metrics_path="/metrics/cadvisor",image!=""'
_PREFIX = "node_namespace_pod_container"


def _cpu(function: str, window: str) -> str:
    return f"""sum by (cluster, namespace, pod, container) (
    {function}(container_cpu_usage_seconds_total{{{_USED}}}[{window}])) * {_POD}"""


def _memory(what: str) -> Record:
    return Record(
        f"{_PREFIX}:container_memory_{what}", f"container_memory_{what}{{{_USED}}} * {_POD}"
    )


def _asked(resource: str, kind: str) -> tuple[Record, Record]:
    series = f"kube_pod_container_resource_{kind}"
    alive = f'{series}{{resource="{resource}",job="kube-state-metrics"}} * {_ALIVE}'
    return (
        Record(f"cluster:namespace:pod_{resource}:active:{series}", alive),
        Record(f"namespace_{resource}:{series}:sum", f"sum by (namespace, cluster) ({alive})"),
    )


def _overcommit(resource: str, name: str) -> Alert:
    """What pods asked for would not fit any more if the largest node went."""
    there = f'kube_node_status_allocatable{{resource="{resource}"}}'
    return Alert(
        f"Kube{name}Overcommit", "10m", "warning",
        f"""sum by (cluster) (namespace_{resource}:kube_pod_container_resource_requests:sum)
        > sum by (cluster) ({there}) - max by (cluster) ({there})
        and on (cluster) count by (cluster) ({there}) > 1""",
        f"Pods ask for more {name} than is left when a node fails.",
    )  # fmt: skip


def _quota(name: str, delay: str, severity: str, condition: str, words: str) -> Alert:
    used, hard = ('kube_resourcequota{type="used"}', '(kube_resourcequota{type="hard"} > 0)')
    return Alert(
        name, delay, severity, f"{used} / ignoring (type) {hard} {condition}",
        f"Quota {{{{ $labels.namespace }}}}/{{{{ $labels.resourcequota }}}} is {words} for "
        "{{ $labels.resource }}.",
    )  # fmt: skip


def _quota_overcommit(resource: str, name: str) -> Alert:
    return Alert(
        f"Kube{name}QuotaOvercommit", "5m", "warning",
        f"""sum by (cluster) (max by (cluster, namespace, resource) (
        kube_resourcequota{{type="hard",resource=~"({resource}|requests.{resource})"}}))
        / sum by (cluster) (kube_node_status_allocatable{{resource="{resource}"}}) > 1.5""",
        f"Quotas allow more {name} than there is.",
    )  # fmt: skip


GROUPS = (
    Group(
        "k8s.rules.containers",
        (
            Record(f"{_PREFIX}:container_cpu_usage_seconds_total:sum_rate5m", _cpu("rate", "5m")),
            Record(f"{_PREFIX}:container_cpu_usage_seconds_total:sum_irate", _cpu("irate", "5m")),
            *(_memory(what) for what in ("working_set_bytes", "rss", "cache", "swap")),
            *(
                record
                for resource in ("memory", "cpu")
                for kind in ("requests", "limits")
                for record in _asked(resource, kind)
            ),
        ),
    ),
    Group(
        "kubernetes-resources",
        (
            _overcommit("cpu", "CPU"),
            _overcommit("memory", "Memory"),
            _quota_overcommit("cpu", "CPU"),
            _quota_overcommit("memory", "Memory"),
            _quota("KubeQuotaAlmostFull", "15m", "info", "> 0.9 < 1", "almost full"),
            _quota("KubeQuotaFullyUsed", "15m", "info", "== 1", "full"),
            _quota("KubeQuotaExceeded", "15m", "warning", "> 1", "exceeded"),
            Alert(
                "CPUThrottlingHigh", "15m", "info",
                """sum by (cluster, namespace, pod, container) (
                increase(container_cpu_cfs_throttled_periods_total{container!=""}[5m]))
                / sum by (cluster, namespace, pod, container) (
                increase(container_cpu_cfs_periods_total[5m])) > 0.25""",
                "Container {{ $labels.container }} of {{ $labels.namespace }}/{{ $labels.pod }} is "
                "held back {{ $value | humanizePercentage }} of the time.",
            ),
        ),
    ),
)  # fmt: skip
