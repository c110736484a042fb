"""What users run. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, stat, table, total

_OWNED = f"""* on (cluster, namespace, pod) group_left (workload, workload_type)
max by (cluster, namespace, pod, workload, workload_type) (namespace_workload_pod:kube_pod_owner:relabel{{{LAB}}})"""
_NAME = "{{namespace}}/{{workload}}"


def _used(series: str) -> str:
    return f"sum by (namespace, workload) (node_namespace_pod_container:{series}{{{LAB}}} {_OWNED})"


BOARD = Board(
    "muster-workloads",
    "Muster / Workloads",
    (
        Row(
            "Now",
            (
                stat("Namespaces", f'count(kube_namespace_status_phase{{{LAB},phase="Active"}} == 1)'),
                stat("Deployments", f"count(kube_deployment_created{{{LAB}}})"),
                stat("Pods", f"count(kube_pod_info{{{LAB}}})"),
                stat("Pods not Ready", f"""count(kube_pod_info{{{LAB}}})
                     - sum(kube_pod_status_ready{{{LAB},condition="true"}})""", thresholds=((1, "orange"),)),
                stat("Containers waiting", f"sum(kube_pod_container_status_waiting{{{LAB}}})", thresholds=((1, "orange"),)),
                stat("Restarts within an hour", f"sum(increase(kube_pod_container_status_restarts_total{{{LAB}}}[1h]))",
                     thresholds=((1, "orange"),)),
            ),
        ),
        Row(
            "Deployments",
            (
                graph("Replicas wanted", "short", (total("kube_deployment_spec_replicas", "namespace, deployment"), "{{namespace}}/{{deployment}}")),
                graph("Replicas available", "short",
                      (total("kube_deployment_status_replicas_available", "namespace, deployment"), "{{namespace}}/{{deployment}}")),
                graph("Replicas that lack", "short",
                      (f"""sum by (namespace, deployment) (kube_deployment_spec_replicas{{{LAB}}}
                      - kube_deployment_status_replicas_available{{{LAB}}})""", "{{namespace}}/{{deployment}}")),
            ),
        ),
        Row(
            "Pods",
            (
                graph("By phase", "short", (total("kube_pod_status_phase", "phase"), "{{phase}}"), stacked=True),
                graph("By node", "short", (f"count by (node) (kube_pod_info{{{LAB}}})", "{{node}}"), stacked=True),
                graph("By workload", "short",
                      (f"count by (namespace, workload) (namespace_workload_pod:kube_pod_owner:relabel{{{LAB}}})", _NAME), stacked=True),
                graph("CPU by workload", "short", (_used("container_cpu_usage_seconds_total:sum_rate5m"), _NAME)),
                graph("Memory by workload", "bytes", (_used("container_memory_working_set_bytes"), _NAME)),
                graph("Restarts", "short",
                      (f"sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{{{LAB}}}[5m]))", "{{namespace}}/{{pod}}")),
                table("Where pods are", f"max by (namespace, pod, node, pod_ip) (kube_pod_info{{{LAB}}})"),
                table("Images", f"count by (image) (kube_pod_container_info{{{LAB}}})"),
            ),
        ),
    ),
)  # fmt: skip
