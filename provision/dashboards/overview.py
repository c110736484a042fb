"""The lab at a glance. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, slowest, stat, total

_READY = total("kube_node_status_condition", selector='condition="Ready",status="true"')
_MACHINE = 'id="/",metrics_path="/metrics/cadvisor"'

BOARD = Board(
    "muster-overview",
    "Muster / Lab",
    (
        Row(
            "Now",
            (
                stat("Nodes Ready", _READY),
                stat("Nodes not Ready", f"count(kube_node_info{{{LAB}}}) - {_READY}", thresholds=((1, "red"),)),
                stat("Pods running", total("kube_pod_status_phase", selector='phase="Running"')),
                stat("Targets down", f"count(up{{{LAB}}}) - sum(up{{{LAB}}})", thresholds=((1, "red"),)),
                stat("Members with a leader", total("etcd_server_has_leader")),
                stat("Alerts that fire", 'count(ALERTS{alertstate="firing"}) - 1', thresholds=((1, "orange"),)),
            ),
        ),
        Row(
            "The API",
            (
                graph("Requests", "reqps", (rate("apiserver_request_total", "code"), "{{code}}"), stacked=True),
                graph(
                    "Slowest 1 %", "s",
                    (slowest("apiserver_request_sli_duration_seconds", "verb", 'verb!~"WATCH|CONNECT"'), "{{verb}}"),
                ),
                graph(
                    "Availability", "percentunit",
                    (f"apiserver_request:availability30d{{{LAB}}}", "{{verb}}"),
                    help="Requests that were neither late nor failed, since the lab's Prometheus started.",
                ),
            ),
        ),
        Row(
            "Machines",
            (
                graph("CPU", "short", (rate("container_cpu_usage_seconds_total", "node", _MACHINE), "{{node}}"),
                      help="Cores that each machine uses."),
                graph("Memory", "bytes",
                      (total("container_memory_working_set_bytes", "node", _MACHINE), "{{node}}")),
                graph("Network", "Bps",
                      (rate("node_network_receive_bytes_total", "node", 'device="eth0"'), "{{node}} in"),
                      (rate("node_network_transmit_bytes_total", "node", 'device="eth0"'), "{{node}} out")),
            ),
        ),
        Row(
            "What the lab itself costs",
            (
                graph("CPU of its processes", "short", (rate("process_cpu_seconds_total", "job"), "{{job}}"), stacked=True),
                graph("Memory of its processes", "bytes", (total("process_resident_memory_bytes", "job"), "{{job}}"), stacked=True),
                graph("Series", "short", (total("scrape_samples_post_metric_relabeling", "job"), "{{job}}"), stacked=True),
            ),
        ),
    ),
)  # fmt: skip
