"""The kubelet's own metrics, with upstream's names (kubernetes-mixin reads these)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Some of upstream's counters have no `_total` at the end, which this library's Counter would
# add. They are Gauges here, and only ever grow.

_OPERATION_BUCKETS = tuple(0.005 * 2.5**i for i in range(14))

RUNTIME_OPERATIONS = Counter(
    "kubelet_runtime_operations_total", "CRI calls, by operation.", ["operation_type"]
)
RUNTIME_ERRORS = Counter(
    "kubelet_runtime_operations_errors_total", "Failed CRI calls.", ["operation_type"]
)
RUNTIME_SECONDS = Histogram(
    "kubelet_runtime_operations_duration_seconds",
    "Duration of CRI calls.",
    ["operation_type"],
    buckets=_OPERATION_BUCKETS,
)
RELIST_SECONDS = Histogram(
    "kubelet_pleg_relist_duration_seconds", "Duration of relisting the pods in PLEG."
)
RELIST_INTERVAL = Histogram(
    "kubelet_pleg_relist_interval_seconds",
    "Interval between relists.",
    buckets=(0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0),
)
EVENTED_CONNECTIONS = Gauge(
    "kubelet_evented_pleg_connection_success_count", "Event streams opened to the runtime."
)
EVENTED_ERRORS = Gauge("kubelet_evented_pleg_connection_error_count", "Event streams that failed.")
POD_START = Histogram(
    "kubelet_pod_start_duration_seconds",
    "From the kubelet seeing a pod for the first time to the pod starting to run.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 600),
)
POD_START_SLI = Histogram(
    "kubelet_pod_start_sli_duration_seconds",
    "From the pod's creation to its containers running, image pulls excluded.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 600),
)
POD_WORKER = Histogram(
    "kubelet_pod_worker_duration_seconds",
    "Duration of one sync of a pod.",
    ["operation_type"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
POD_STATUS_SYNC = Histogram(
    "kubelet_pod_status_sync_duration_seconds",
    "From a status change to the api-server having it.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60),
)
CGROUP_SECONDS = Histogram(
    "kubelet_cgroup_manager_duration_seconds",
    "Duration of cgroup operations.",
    ["operation_type"],
)
RUNNING_PODS = Gauge("kubelet_running_pods", "Pods with a running sandbox.")
RUNNING_CONTAINERS = Gauge(
    "kubelet_running_containers", "Containers by state.", ["container_state"]
)
NODE_NAME = Gauge("kubelet_node_name", "The node's name; the value is always 1.", ["node"])
NODE_CONFIG_ERROR = Gauge(
    "kubelet_node_config_error", "1 when the node has a configuration error, else 0."
)
EVICTIONS = Gauge("kubelet_evictions", "Pods evicted, by signal.", ["eviction_signal"])
RENEW_ERRORS = Gauge(
    "kubelet_certificate_manager_client_expiration_renew_errors",
    "Failed renewals of the client certificate.",
)
SERVER_RENEW_ERRORS = Gauge(
    "kubelet_server_expiration_renew_errors", "Failed renewals of the serving certificate."
)
CLIENT_TTL = Gauge(
    "kubelet_certificate_manager_client_ttl_seconds",
    "Seconds until the client certificate expires; negative once it has.",
)
SERVER_TTL = Gauge(
    "kubelet_certificate_manager_server_ttl_seconds",
    "Seconds until the serving certificate expires; negative once it has.",
)
STORAGE_SECONDS = Histogram(
    "storage_operation_duration_seconds",
    "Duration of volume operations.",
    ["volume_plugin", "operation_name", "status", "migrated"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600),
)
STORAGE_ERRORS = Counter(
    "storage_operation_errors_total",
    "Failed volume operations.",
    ["volume_plugin", "operation_name"],
)
VOLUMES = Gauge("volume_manager_total_volumes", "Volumes of this node.", ["plugin_name", "state"])
# On a page of its own, /metrics/probes: it has series for every container.
PROBES_REGISTRY = CollectorRegistry()
PROBES = Counter(
    "prober_probe_total",
    "Probes by result.",
    ["probe_type", "result", "container", "pod", "namespace"],
    registry=PROBES_REGISTRY,
)


def seconds_left(end: datetime) -> Callable[[], float]:
    """A gauge's function: how long until `end`, as of the scrape."""
    return lambda: end.timestamp() - time.time()
