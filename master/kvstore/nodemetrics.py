"""The node's state under etcd's metric names, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kube.component.version import ETCD_CLUSTER_VERSION, ETCD_VERSION
from master.kvstore.node import Node


class NodeCollector(Collector):
    """Everything that is a property of the node at the moment of the scrape."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterable[Metric]:
        for name, help_, value in self._gauges():
            yield GaugeMetricFamily(name, help_, value=value)
        for name, help_, value in self._counters():
            yield CounterMetricFamily(name, help_, value=value)
        # A gauge, not an Info family: that would append `_info` to the name.
        version = GaugeMetricFamily(
            "etcd_server_version", "The version that is followed.", labels=["server_version"]
        )
        version.add_metric([ETCD_VERSION], 1)
        yield version
        cluster = GaugeMetricFamily(
            "etcd_cluster_version", "The cluster's version.", labels=["cluster_version"]
        )
        cluster.add_metric([ETCD_CLUSTER_VERSION.rpartition(".")[0]], 1)
        yield cluster
        member = GaugeMetricFamily("etcd_server_id", "This member's id.", labels=["server_id"])
        member.add_metric([f"{self._node.id:x}"], 1)
        yield member

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        node, mvcc = self._node, self._node.machine.mvcc
        size = mvcc.total_bytes
        yield "etcd_server_has_leader", "Whether a leader is known.", int(node.has_leader)
        yield "etcd_server_is_leader", "Whether this member leads.", int(node.is_leader)
        yield "etcd_server_is_learner", "Whether this member does not vote.", int(node.is_learner)
        yield "etcd_server_proposals_pending", "Proposals without outcome.", node.pending
        yield "etcd_server_proposals_committed_total", "Highest committed index.", node.commit
        yield "etcd_server_proposals_applied_total", "Highest applied index.", node.applied
        quota = node.limits.quota_bytes
        yield "etcd_server_quota_backend_bytes", "Quota of the state's size.", quota
        yield "etcd_mvcc_db_total_size_in_bytes", "Size of all versions held.", size
        yield "etcd_mvcc_db_total_size_in_use_in_bytes", "The same: nothing is unused.", size
        yield "etcd_debugging_mvcc_keys_total", "Keys that exist.", mvcc.keys()
        yield "etcd_debugging_mvcc_current_revision", "The revision.", mvcc.revision
        yield "etcd_debugging_mvcc_compact_revision", "Compacted up to.", mvcc.compacted
        yield "etcd_debugging_mvcc_watcher_total", "Watchers.", node.hub.watching()
        yield "etcd_debugging_mvcc_watch_stream_total", "Streams.", len(node.hub.streams)

    def _counters(self) -> Iterator[tuple[str, str, float]]:
        node = self._node
        yield "etcd_server_leader_changes_seen", "Changes of leader.", node.leadership.changes
        yield "etcd_server_proposals_failed", "Proposals that failed.", node.proposals_failed
        yield "etcd_server_slow_read_indexes", "ReadIndex asked again.", node.barrier.retries
        yield "etcd_debugging_mvcc_slow_watcher", "Watchers that fell behind.", node.hub.slow
        for kind, amount in node.applied_kinds.items():
            yield f"etcd_mvcc_{kind}", "Operations applied.", amount
