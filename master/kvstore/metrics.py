"""The store's metrics under etcd's names, so that etcd's dashboards and alerts read them.

These are counted where the work is done; `nodemetrics` reads the rest off the node.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_DISK_BUCKETS = tuple(0.001 * 2**power for power in range(14))

WAL_FSYNC = Histogram(
    "etcd_disk_wal_fsync_duration_seconds",
    "From handing a batch to the disk until it is durable.",
    buckets=_DISK_BUCKETS,
)
BACKEND_COMMIT = Histogram(
    "etcd_disk_backend_commit_duration_seconds",
    "Applying one batch of committed entries to the key-value state.",
    buckets=_DISK_BUCKETS,
)
SNAPSHOT_SAVE = Histogram(
    "etcd_debugging_snap_save_total_duration_seconds",
    "Writing one snapshot file.",
    buckets=_DISK_BUCKETS,
)
PEER_RTT = Histogram(
    "etcd_network_peer_round_trip_time_seconds",
    "Round trip of a ping between two members.",
    ["To"],
    buckets=tuple(0.0001 * 2**power for power in range(16)),
)
PEER_SENT = Counter("etcd_network_peer_sent_bytes_total", "Bytes sent to a member.", ["To"])
PEER_RECEIVED = Counter(
    "etcd_network_peer_received_bytes_total", "Bytes received from a member.", ["From"]
)
PEER_FAILURES = Counter(
    "etcd_network_peer_sent_failures_total", "Sends to a member that failed.", ["To"]
)
