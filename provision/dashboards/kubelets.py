"""Kubelets, the runtime under them, and pods. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, slowest, total

_POD = 'metrics_path="/metrics/cadvisor",image!=""'
_NET = 'metrics_path="/metrics/cadvisor",namespace!=""'

BOARD = Board(
    "muster-kubelets",
    "Muster / Kubelets and pods",
    (
        Row(
            "Kubelets",
            (
                graph("Pods", "short", (total("kubelet_running_pods", "node"), "{{node}}")),
                graph("Containers", "short",
                      (total("kubelet_running_containers", "node", 'container_state="running"'), "{{node}}")),
                graph("Slowest 1 % of pod starts", "s",
                      (slowest("kubelet_pod_start_sli_duration_seconds", "node", window="1h"), "{{node}}")),
                graph("Calls to the runtime", "ops", (rate("kubelet_runtime_operations_total", "operation_type"), "{{operation_type}}")),
                graph("Slowest 1 % of them", "s",
                      (slowest("kubelet_runtime_operations_duration_seconds", "operation_type", window="1h"), "{{operation_type}}")),
                graph("Calls that failed", "ops",
                      (rate("kubelet_runtime_operations_errors_total", "operation_type"), "{{operation_type}}")),
                graph("Slowest 1 % of pod syncs", "s",
                      (slowest("kubelet_pod_worker_duration_seconds", "node", window="1h"), "{{node}}")),
                graph("Slowest 1 % of listings (PLEG)", "s", (slowest("kubelet_pleg_relist_duration_seconds", "node", window="1h"), "{{node}}")),
                graph("Memory of kubelet and runtime", "bytes",
                      (total("process_resident_memory_bytes", "node, job", 'job=~"kubelet|muster-runtime"'), "{{node}} {{job}}")),
            ),
        ),
        Row(
            "Pods",
            (
                graph("CPU", "short", (f'topk(10, {rate("container_cpu_usage_seconds_total", "namespace, pod", _POD)})', "{{namespace}}/{{pod}}")),
                graph("Memory", "bytes",
                      (f'topk(10, {total("container_memory_working_set_bytes", "namespace, pod", _POD)})', "{{namespace}}/{{pod}}")),
                graph("Held back", "percentunit",
                      (f"""sum by (namespace, pod) (rate(container_cpu_cfs_throttled_periods_total{{{LAB}}}[5m]))
                      / (sum by (namespace, pod) (rate(container_cpu_cfs_periods_total{{{LAB}}}[5m])) > 0)
                      or sum by (namespace, pod) (0 * container_memory_rss{{{LAB},image!=""}})""", "{{namespace}}/{{pod}}"),
                      help="Periods in which a pod had used up its CPU limit."),
                graph("Received", "Bps", (f'topk(10, {rate("container_network_receive_bytes_total", "namespace, pod", _NET)})', "{{namespace}}/{{pod}}")),
                graph("Sent", "Bps", (f'topk(10, {rate("container_network_transmit_bytes_total", "namespace, pod", _NET)})', "{{namespace}}/{{pod}}")),
                graph("Probes", "ops", (rate("prober_probe_total", "probe_type, result"), "{{probe_type}} {{result}}")),
            ),
        ),
    ),
)  # fmt: skip
