"""Pods and what makes them. Pure."""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group, Record

_WORKLOAD = "namespace_workload_pod:kube_pod_owner:relabel"
_STILL = "changes({status}[10m]) == 0"


def _generations(kind: str, series: str) -> Alert:
    return Alert(
        f"Kube{kind}GenerationMismatch", "15m", "warning",
        f"{series}_status_observed_generation != {series}_metadata_generation",
        f"The controller has not seen the newest {kind} {{{{ $labels.namespace }}}}/"
        f"{{{{ $labels.{kind.lower()} }}}}.",
    )  # fmt: skip


def _too_few(kind: str, wanted: str, have: str, updated: str) -> Alert:
    return Alert(
        f"Kube{kind}ReplicasMismatch", "15m", "warning",
        f"({wanted} > {have}) and ({_STILL.format(status=updated)})",
        f"{kind} {{{{ $labels.namespace }}}}/{{{{ $labels.{kind.lower()} }}}} lacks pods.",
    )  # fmt: skip


_APPS = (
    Alert(
        "KubePodCrashLooping", "15m", "warning",
        'max_over_time(kube_pod_container_status_waiting_reason{reason="CrashLoopBackOff"}[5m]) >= 1',
        "Container {{ $labels.container }} of {{ $labels.namespace }}/{{ $labels.pod }} "
        "crashes again and again.",
    ),
    Alert(
        "KubePodNotReady", "15m", "warning",
        """sum by (cluster, namespace, pod) (max by (cluster, namespace, pod) (
        kube_pod_status_phase{phase=~"Pending|Unknown|Failed"}) unless on (cluster, namespace, pod)
        kube_pod_owner{owner_kind="Job"}) > 0""",
        "Pod {{ $labels.namespace }}/{{ $labels.pod }} is not ready.",
    ),
    _generations("Deployment", "kube_deployment"),
    _too_few(
        "Deployment", "kube_deployment_spec_replicas", "kube_deployment_status_replicas_available",
        "kube_deployment_status_replicas_updated",
    ),
    Alert(
        "KubeDeploymentRolloutStuck", "15m", "warning",
        'kube_deployment_status_condition{condition="Progressing",status="false"} != 0',
        "The rollout of {{ $labels.namespace }}/{{ $labels.deployment }} does not progress.",
    ),
    _generations("StatefulSet", "kube_statefulset"),
    _too_few(
        "StatefulSet", "kube_statefulset_replicas", "kube_statefulset_status_replicas_ready",
        "kube_statefulset_status_replicas_updated",
    ),
    Alert(
        "KubeStatefulSetUpdateNotRolledOut", "15m", "warning",
        """max by (cluster, namespace, statefulset) (kube_statefulset_status_current_revision
        unless kube_statefulset_status_update_revision)
        and on (cluster, namespace, statefulset)
        kube_statefulset_status_replicas_updated < kube_statefulset_replicas""",
        "The update of {{ $labels.namespace }}/{{ $labels.statefulset }} is not rolled out.",
    ),
    Alert(
        "KubeDaemonSetRolloutStuck", "15m", "warning",
        """(kube_daemonset_status_number_available < kube_daemonset_status_desired_number_scheduled)
        and (changes(kube_daemonset_status_updated_number_scheduled[5m]) == 0)""",
        "DaemonSet {{ $labels.namespace }}/{{ $labels.daemonset }} lacks pods.",
    ),
    Alert(
        "KubeDaemonSetNotScheduled", "10m", "warning",
        """kube_daemonset_status_desired_number_scheduled
        - kube_daemonset_status_current_number_scheduled > 0""",
        "{{ $value }} pods of {{ $labels.namespace }}/{{ $labels.daemonset }} have no node.",
    ),
    Alert(
        "KubeDaemonSetMisScheduled", "15m", "warning",
        "kube_daemonset_status_number_misscheduled > 0",
        "{{ $value }} pods of {{ $labels.namespace }}/{{ $labels.daemonset }} run where they "
        "should not.",
    ),
    Alert(
        "KubeContainerWaiting", "1h", "warning",
        'kube_pod_container_status_waiting_reason{reason!="CrashLoopBackOff"} > 0',
        "Container {{ $labels.container }} of {{ $labels.namespace }}/{{ $labels.pod }} waits: "
        "{{ $labels.reason }}.",
    ),
    Alert(
        "KubeJobNotCompleted", "", "warning",
        """time() - max by (cluster, namespace, job_name) (kube_job_status_start_time
        and kube_job_status_active > 0) > 12 * 3600""",
        "Job {{ $labels.namespace }}/{{ $labels.job_name }} has run for more than 12 hours.",
    ),
    Alert(
        "KubeJobFailed", "15m", "warning", 'kube_job_failed{condition="true"} > 0',
        "Job {{ $labels.namespace }}/{{ $labels.job_name }} has failed.",
    ),
    Alert(
        "KubePersistentVolumeErrors", "5m", "critical",
        'kube_persistentvolume_status_phase{phase=~"Failed|Pending"} > 0',
        "Volume {{ $labels.persistentvolume }} is {{ $labels.phase }}.",
    ),
)  # fmt: skip


def _owned(kind: str) -> str:
    return f'kube_pod_owner{{owner_kind="{kind}"}}'


def _by_pod(kind: str, *, name: str = "owner_name") -> str:
    """A series for each pod whose owner is of `kind`: `workload` is the owner's name."""
    return f"""max by (cluster, namespace, workload, pod) (
    label_replace({_owned(kind)}, "workload", "$1", "{name}", "(.*)"))"""


# A pod's ReplicaSet belongs to a Deployment; one that belongs to nothing counts for itself.
_OF_REPLICASETS = f"""label_replace({_owned("ReplicaSet")}, "replicaset", "$1", "owner_name", "(.*)")
* on (cluster, namespace, replicaset) group_left (workload)"""
_DEPLOYMENTS = f"""max by (cluster, namespace, workload, pod) ({_OF_REPLICASETS} max by
(cluster, namespace, replicaset, workload) (label_replace(kube_replicaset_owner{{owner_kind=
"Deployment"}}, "workload", "$1", "owner_name", "(.*)")))"""
_REPLICASETS = f"""max by (cluster, namespace, workload, pod) ({_OF_REPLICASETS} max by
(cluster, namespace, replicaset, workload) (label_replace(kube_replicaset_owner{{owner_kind=""}},
"workload", "$1", "replicaset", "(.*)")))"""
_KINDS = {
    "deployment": _DEPLOYMENTS,
    "replicaset": _REPLICASETS,
    "daemonset": _by_pod("DaemonSet"),
    "statefulset": _by_pod("StatefulSet"),
    "job": _by_pod("Job"),
    "staticpod": _by_pod("Node", name="pod"),
    "barepod": _by_pod("", name="pod"),
}

GROUPS = (
    Group("kubernetes-apps", _APPS),
    Group(
        "k8s.rules.pod_owner",
        tuple(Record(_WORKLOAD, expr, {"workload_type": kind}) for kind, expr in _KINDS.items()),
    ),
)
