"""What a drill does to the lab, in the order in which it shows. Pure.

A run leaves no series of its own. Its marks are what it causes: lost nodes, new leaders, alerts.
"""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, total

_READY = 'condition="Ready",status="true"'

BOARD = Board(
    "muster-drills",
    "Muster / Drills",
    (
        Row(
            "Noticed",
            (
                graph("Targets up by machine", "short", (total("up", "node"), "{{node}}")),
                graph("Since the node's last heartbeat", "s",
                      (f'time() - max by (lease) (kube_lease_renew_time{{{LAB},namespace="kube-node-lease"}})', "{{lease}}")),
                graph("Node Ready", "short", (total("kube_node_status_condition", "node", _READY), "{{node}}")),
                graph("Leader of the store", "short", (total("etcd_server_is_leader", "node"), "{{node}}")),
                graph("Leader changes", "short", (f"max by (node) (etcd_server_leader_changes_seen_total{{{LAB}}})", "{{node}}")),
                graph("Leaders of components", "short", (f"leader_election_master_status{{{LAB}}}", "{{name}} {{node}}{{instance}}")),
            ),
        ),
        Row(
            "Acted upon",
            (
                graph("Taints", "short", (f"count by (node, key) (kube_node_spec_taint{{{LAB}}})", "{{node}} {{key}}")),
                graph("Pods evicted", "short",
                      (f"sum by (node) (increase(taint_eviction_controller_pod_deletions_total{{{LAB}}}[5m]))", "{{node}}")),
                graph("Pods by phase", "short", (total("kube_pod_status_phase", "phase"), "{{phase}}"), stacked=True),
                graph("Pods by node", "short", (f"count by (node) (kube_pod_info{{{LAB}}})", "{{node}}"), stacked=True),
                graph("Attempts to schedule", "ops", (rate("scheduler_schedule_attempts_total", "result"), "{{result}}")),
                graph("Work of the controllers", "ops", (rate("workqueue_adds_total", "name"), "{{name}}")),
            ),
        ),
        Row(
            "Healed",
            (
                graph("Replicas that lack", "short",
                      (f"""sum by (namespace, deployment) (kube_deployment_spec_replicas{{{LAB}}}
                      - kube_deployment_status_replicas_available{{{LAB}}})""", "{{namespace}}/{{deployment}}")),
                graph("Ready endpoints", "short",
                      (f'count by (namespace, endpointslice) (kube_endpointslice_endpoints{{{LAB},ready="true"}})', "{{namespace}}/{{endpointslice}}")),
                graph("Syncs of the rules", "ops", (rate("kubeproxy_sync_proxy_rules_duration_seconds_count", "node"), "{{node}}")),
                graph("Requests to the API", "reqps", (rate("apiserver_request_total", "code"), "{{code}}")),
                graph("Clients' requests that fail", "reqps", (rate("rest_client_requests_total", "job", 'code!~"2.."'), "{{job}}")),
                graph("Calls to the store", "ops", (rate("grpc_server_handled_total", "grpc_code", 'job="etcd"'), "{{grpc_code}}")),
            ),
        ),
    ),
)  # fmt: skip
