"""What there is, what was asked for, and what is used. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Panel, Row
from provision.dashboards.promql import LAB, graph, stat, total


def _allocatable(resource: str) -> str:
    return total("kube_node_status_allocatable", "node", f'resource="{resource}"')


def _requested(resource: str) -> str:
    return f"sum by (node) (cluster:namespace:pod_{resource}:active:kube_pod_container_resource_requests{{{LAB}}})"


def _share(title: str, part: str, whole: str) -> Panel:
    return stat(title, f"sum({part}) / sum({whole})", "percentunit", ((0.8, "orange"), (1, "red")))


_MACHINE = f'{LAB},id="/",metrics_path="/metrics/cadvisor"'
_CPU_USED = (
    f"sum by (node) (rate(container_cpu_usage_seconds_total{{{_MACHINE}}}[$__rate_interval]))"
)
_MEMORY_USED = f"sum by (node) (container_memory_working_set_bytes{{{_MACHINE}}})"
_PODS = f'count by (node) (kube_pod_info{{{LAB},node!=""}})'

BOARD = Board(
    "muster-capacity",
    "Muster / Capacity",
    (
        Row(
            "Now",
            (
                _share("CPU asked for", _requested("cpu"), _allocatable("cpu")),
                _share("CPU used", _CPU_USED, _allocatable("cpu")),
                _share("Memory asked for", _requested("memory"), _allocatable("memory")),
                _share("Memory used", _MEMORY_USED, _allocatable("memory")),
                _share("Pods", _PODS, _allocatable("pods")),
                stat("Store used", f"""max(etcd_mvcc_db_total_size_in_bytes{{{LAB}}})
                     / max(etcd_server_quota_backend_bytes{{{LAB}}})""", "percentunit", ((0.8, "orange"),)),
            ),
        ),
        Row(
            "Each node",
            (
                graph("CPU asked for", "percentunit", (f"{_requested('cpu')} / {_allocatable('cpu')}", "{{node}}")),
                graph("Memory asked for", "percentunit", (f"{_requested('memory')} / {_allocatable('memory')}", "{{node}}")),
                graph("Pods", "percentunit", (f"{_PODS} / {_allocatable('pods')}", "{{node}}")),
                graph("CPU used", "percentunit", (f"{_CPU_USED} / {_allocatable('cpu')}", "{{node}}")),
                graph("Memory used", "percentunit", (f"{_MEMORY_USED} / {_allocatable('memory')}", "{{node}}")),
                graph("Disk used", "percentunit",
                      (f"""1 - max by (node, mountpoint) (node_filesystem_avail_bytes{{{LAB}}})
                      / max by (node, mountpoint) (node_filesystem_size_bytes{{{LAB}}})""", "{{node}} {{mountpoint}}")),
            ),
        ),
        Row(
            "Growth",
            (
                graph("Objects", "short", (f'topk(8, {total("apiserver_storage_objects", "resource")})', "{{resource}}")),
                graph("Size of the store", "bytes", (total("etcd_mvcc_db_total_size_in_bytes", "node"), "{{node}}")),
                graph("Series", "short", (total("scrape_samples_post_metric_relabeling", "job"), "{{job}}"), stacked=True),
            ),
        ),
    ),
)  # fmt: skip
