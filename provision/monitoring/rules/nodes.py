"""Nodes and their kubelets. Pure."""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group, Record

_PLEG = "kubelet_pleg_relist_duration_seconds"
_NAME = 'on (cluster, instance) group_left (node) kubelet_node_name{job="kubelet"}'
_SCHEDULER = (
    "scheduler_scheduling_attempt_duration_seconds",
    "scheduler_scheduling_algorithm_duration_seconds",
    "scheduler_pod_scheduling_sli_duration_seconds",
)
_QUANTILES = (0.99, 0.9, 0.5)


def _certificate(kind: str, seconds: int, severity: str) -> Alert:
    return Alert(
        f"Kubelet{kind.capitalize()}CertificateExpiration", "", severity,
        f"kubelet_certificate_manager_{kind}_ttl_seconds < {seconds}",
        f"The kubelet's {kind} certificate on {{{{ $labels.node }}}} runs out in "
        "{{ $value | humanizeDuration }}.",
    )  # fmt: skip


GROUPS = (
    Group(
        "kubernetes-system-kubelet",
        (
            Alert(
                "KubeNodeNotReady", "15m", "warning",
                """kube_node_status_condition{condition="Ready",status="true"} == 0
                unless on (cluster, node) kube_node_spec_unschedulable == 1""",
                "Node {{ $labels.node }} is not Ready.",
            ),
            Alert(
                "KubeNodePressure", "10m", "info",
                """kube_node_status_condition{condition=~"(Memory|Disk|PID)Pressure",status="true"} == 1
                unless on (cluster, node) kube_node_spec_unschedulable == 1""",
                "Node {{ $labels.node }} has {{ $labels.condition }}.",
            ),
            Alert(
                "KubeNodeUnreachable", "15m", "warning",
                """kube_node_spec_taint{key="node.kubernetes.io/unreachable",effect="NoSchedule"} == 1""",
                "Node {{ $labels.node }} cannot be reached: its pods move away.",
            ),
            Alert(
                "KubeletTooManyPods", "15m", "info",
                """count by (cluster, node) (kube_pod_info{node!=""} * on (cluster, namespace, pod)
                group_left () (kube_pod_status_phase{phase="Running"} == 1))
                / on (cluster, node) kube_node_status_capacity{resource="pods"} > 0.95""",
                "Node {{ $labels.node }} has {{ $value | humanizePercentage }} of its pods.",
            ),
            Alert(
                "KubeNodeReadinessFlapping", "15m", "warning",
                """changes(kube_node_status_condition{condition="Ready",status="true"}[15m]) > 2
                unless on (cluster, node) kube_node_spec_unschedulable == 1""",
                "Node {{ $labels.node }} was Ready and not Ready {{ $value }} times in 15 minutes.",
            ),
            Alert(
                "KubeNodeEviction", "", "info",
                "sum by (cluster, node, eviction_signal) (rate(kubelet_evictions[15m])) > 0",
                "Node {{ $labels.node }} evicts pods for {{ $labels.eviction_signal }}.",
            ),
            Alert(
                "KubeletPlegDurationHigh", "5m", "warning",
                f'node_quantile:{_PLEG}:histogram_quantile{{quantile="0.99"}} >= 10',
                "The kubelet on {{ $labels.node }} takes {{ $value }} s to list its pods.",
            ),
            Alert(
                "KubeletPodStartUpLatencyHigh", "15m", "warning",
                """histogram_quantile(0.99, sum by (cluster, node, le) (
                rate(kubelet_pod_worker_duration_seconds_bucket{job="kubelet"}[5m]))) > 60""",
                "Pods on {{ $labels.node }} take {{ $value }} s to start.",
            ),
            *(
                _certificate(kind, seconds, severity)
                for kind in ("client", "server")
                for seconds, severity in ((7 * 86400, "warning"), (86400, "critical"))
            ),
            Alert(
                "KubeletClientCertificateRenewalErrors", "15m", "warning",
                "increase(kubelet_certificate_manager_client_expiration_renew_errors[5m]) > 0",
                "The kubelet on {{ $labels.node }} does not renew its client certificate.",
            ),
            Alert(
                "KubeletServerCertificateRenewalErrors", "15m", "warning",
                "increase(kubelet_server_expiration_renew_errors[5m]) > 0",
                "The kubelet on {{ $labels.node }} does not renew its server certificate.",
            ),
        ),
    ),
    Group(
        "kubelet.rules",
        tuple(
            Record(
                f"node_quantile:{_PLEG}:histogram_quantile",
                f"""histogram_quantile({q}, sum by (cluster, instance, le) (
                rate({_PLEG}_bucket{{job="kubelet"}}[5m])) * {_NAME})""",
                {"quantile": f"{q:g}"},
            )
            for q in _QUANTILES
        ),
    ),
    Group(
        "kube-scheduler.rules",
        tuple(
            Record(
                f"cluster_quantile:{series}:histogram_quantile",
                f"""histogram_quantile({q}, sum by (cluster, le) (
                rate({series}_bucket{{job="kube-scheduler"}}[5m])))""",
                {"quantile": f"{q:g}"},
            )
            for series in _SCHEDULER
            for q in _QUANTILES
        ),
    ),
)  # fmt: skip
