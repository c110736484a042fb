"""The api-server, the scheduler, the controllers. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, slowest, total

_JOBS = 'job=~"apiserver|kube-scheduler|kube-controller-manager|kube-state-metrics"'

BOARD = Board(
    "muster-control-plane",
    "Muster / Control plane",
    (
        Row(
            "API server",
            (
                graph("Requests by verb", "reqps", (rate("apiserver_request_total", "verb"), "{{verb}}"), stacked=True),
                graph("Requests by resource", "reqps", (f'topk(8, {rate("apiserver_request_total", "resource")})', "{{resource}}")),
                graph("Slowest 1 % by verb", "s",
                      (slowest("apiserver_request_sli_duration_seconds", "verb", 'verb!~"WATCH|CONNECT"'), "{{verb}}")),
                graph("In flight", "short",
                      (total("apiserver_current_inflight_requests", "request_kind"), "{{request_kind}}")),
                graph("Watches and other long requests", "short",
                      (f'topk(8, {total("apiserver_longrunning_requests", "resource")})', "{{resource}}")),
                graph("Objects", "short", (f'topk(8, {total("apiserver_storage_objects", "resource")})', "{{resource}}")),
                graph("Calls to the store", "ops", (rate("etcd_request_duration_seconds_count", "operation"), "{{operation}}")),
                graph("Slowest 1 % of them", "s", (slowest("etcd_request_duration_seconds", "operation"), "{{operation}}")),
                graph("Error budget burnt", "short", (f"apiserver_request:burnrate5m{{{LAB}}} / 0.01", "{{verb}}"),
                      help="1: exactly what 99 % allows."),
            ),
        ),
        Row(
            "Scheduler",
            (
                graph("Pods that wait", "short", (total("scheduler_pending_pods", "queue"), "{{queue}}")),
                graph("Attempts", "ops", (rate("scheduler_schedule_attempts_total", "result"), "{{result}}")),
                graph("Slowest 1 % from seen to bound", "s",
                      (slowest("scheduler_pod_scheduling_sli_duration_seconds", window="1h"), "99th percentile")),
            ),
        ),
        Row(
            "Controllers",
            (
                graph("Work", "ops", (rate("workqueue_adds_total", "name"), "{{name}}")),
                graph("Queued", "short", (total("workqueue_depth", "name"), "{{name}}")),
                graph("Slowest 1 % of the waits", "s",
                      (slowest("workqueue_queue_duration_seconds", "name", window="1h"), "{{name}}")),
            ),
        ),
        Row(
            "Processes",
            (
                graph("Leaders", "short", (f"leader_election_master_status{{{LAB}}}", "{{name}} {{node}}{{instance}}")),
                graph("CPU", "short", (rate("process_cpu_seconds_total", "job, instance", _JOBS), "{{job}} {{instance}}")),
                graph("Memory", "bytes",
                      (total("process_resident_memory_bytes", "job, instance", _JOBS), "{{job}} {{instance}}")),
            ),
        ),
    ),
)  # fmt: skip
