"""Services, their endpoints, and the rules that every machine makes of them. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, slowest, stat, total

BOARD = Board(
    "muster-services",
    "Muster / Services and proxy",
    (
        Row(
            "Now",
            (
                stat("Services", f"count(kube_service_info{{{LAB}}})"),
                stat("Ready endpoints", f'count(kube_endpointslice_endpoints{{{LAB},ready="true"}})'),
                stat("Endpoints not ready", f"""(count(kube_endpointslice_endpoints{{{LAB},ready="false"}}) or vector(0))""",
                     thresholds=((1, "orange"),)),
                stat("Oldest sync", f"time() - min(kubeproxy_sync_proxy_rules_last_timestamp_seconds{{{LAB}}})", "s"),
                stat("Changes that wait", f"sum(kubeproxy_sync_proxy_rules_endpoint_changes_pending{{{LAB}}})"),
                stat("Syncs that failed", f"""sum(kubeproxy_sync_proxy_rules_iptables_restore_failures_total{{{LAB}}})""",
                     thresholds=((1, "red"),)),
            ),
        ),
        Row(
            "Endpoints",
            (
                graph("Ready endpoints by slice", "short",
                      (f'count by (namespace, endpointslice) (kube_endpointslice_endpoints{{{LAB},ready="true"}})', "{{namespace}}/{{endpointslice}}")),
                graph("Changes", "ops", (rate("kubeproxy_sync_proxy_rules_endpoint_changes_total", "node"), "{{node}}")),
                graph("Slowest 1 % from change to rule", "s",
                      (slowest("kubeproxy_network_programming_duration_seconds", "node", window="1h"), "{{node}}")),
            ),
        ),
        Row(
            "Rules",
            (
                graph("Syncs", "ops", (rate("kubeproxy_sync_proxy_rules_duration_seconds_count", "node"), "{{node}}")),
                graph("Slowest 1 % of syncs", "s",
                      (slowest("kubeproxy_sync_proxy_rules_duration_seconds", "node", window="1h"), "{{node}}")),
                graph("Rules", "short", (total("kubeproxy_sync_proxy_rules_iptables_total", "node, table"), "{{node}} {{table}}")),
                graph("Routes to other machines", "short", (f"muster_network_routes{{{LAB}}}", "{{node}}")),
                graph("CPU of the proxies", "short", (rate("process_cpu_seconds_total", "node", 'job="kube-proxy"'), "{{node}}")),
                graph("Memory of the proxies", "bytes",
                      (total("process_resident_memory_bytes", "node", 'job="kube-proxy"'), "{{node}}")),
            ),
        ),
    ),
)  # fmt: skip
