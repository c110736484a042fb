"""The proxy's metrics, with kube-proxy's names."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SYNC_BUCKETS = tuple(0.001 * 2**n for n in range(15))
# Upstream's: fine below a second, then coarser up to five minutes.
_PROGRAMMING_BUCKETS = (
    0.25, 0.5, *range(1, 60), *range(60, 121, 5), *range(150, 301, 30),
)  # fmt: skip

SYNC = Histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "SyncProxyRules latency in seconds.",
    buckets=_SYNC_BUCKETS,
)
SYNC_FULL = Histogram(
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "SyncProxyRules latency in seconds for full resyncs.",
    buckets=_SYNC_BUCKETS,
)
SYNC_PARTIAL = Histogram(
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "SyncProxyRules latency in seconds for partial syncs.",
    buckets=_SYNC_BUCKETS,
)
LAST_SYNC = Gauge(
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "The last time proxy rules were successfully synced.",
)
LAST_QUEUED = Gauge(
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
    "The last time a sync of proxy rules was queued.",
)
ENDPOINT_CHANGES = Counter(
    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    "Cumulative proxy rules endpoint changes.",
)
ENDPOINT_CHANGES_PENDING = Gauge(
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
    "Pending proxy rules endpoint changes.",
)
SERVICE_CHANGES = Counter(
    "kubeproxy_sync_proxy_rules_service_changes_total",
    "Cumulative proxy rules service changes.",
)
SERVICE_CHANGES_PENDING = Gauge(
    "kubeproxy_sync_proxy_rules_service_changes_pending",
    "Pending proxy rules service changes.",
)
PROGRAMMING = Histogram(
    "kubeproxy_network_programming_duration_seconds",
    "From the change of a service or pod to the rules that follow it, in seconds.",
    buckets=_PROGRAMMING_BUCKETS,
)
RULES = Gauge(
    "kubeproxy_sync_proxy_rules_iptables_total", "Iptables rules owned by kube-proxy.", ["table"]
)
RULES_LAST = Gauge(
    "kubeproxy_sync_proxy_rules_iptables_last",
    "Iptables rules written by kube-proxy in the last sync.",
    ["table"],
)
RESTORE_FAILURES = Counter(
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
    "Cumulative proxy iptables restore failures.",
)
PARTIAL_RESTORE_FAILURES = Counter(
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
    "Cumulative proxy iptables partial restore failures.",
)
NFTABLES_FAILURES = Counter(
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
    "Cumulative proxy nftables sync failures.",
)
NO_LOCAL_ENDPOINTS = Gauge(
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    "Service ports with a Local traffic policy and no endpoint on this node.",
    ["traffic_policy"],
)
HEALTHZ = Counter("kubeproxy_healthz_total", "Cumulative healthz answers, by code.", ["code"])
LIVEZ = Counter("kubeproxy_livez_total", "Cumulative livez answers, by code.", ["code"])
