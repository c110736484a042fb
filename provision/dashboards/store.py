"""The store: Raft, log, watches. Pure."""

from __future__ import annotations

from provision.dashboards.board import Board, Row
from provision.dashboards.promql import LAB, graph, rate, slowest, stat, total

BOARD = Board(
    "muster-store",
    "Muster / Store",
    (
        Row(
            "Raft",
            (
                stat("Members", f'count(up{{{LAB},job="etcd"}})'),
                stat("With a leader", total("etcd_server_has_leader")),
                stat("Leaders", total("etcd_server_is_leader")),
                stat("Leader changes seen", f"max(etcd_server_leader_changes_seen_total{{{LAB}}})"),
                stat("Revision", f"max(etcd_debugging_mvcc_current_revision{{{LAB}}})"),
                stat("Keys", f"max(etcd_debugging_mvcc_keys_total{{{LAB}}})"),
                graph("Proposals committed", "ops", (rate("etcd_server_proposals_committed_total", "node"), "{{node}}")),
                graph("Behind", "short",
                      (f"""sum by (node) (etcd_server_proposals_committed_total{{{LAB}}}
                      - etcd_server_proposals_applied_total{{{LAB}}})""", "{{node}}"),
                      help="Committed and not yet applied."),
                graph("Pending and failed", "short", (total("etcd_server_proposals_pending", "node"), "{{node}} pending"),
                      (rate("etcd_server_proposals_failed_total", "node"), "{{node}} failed")),
            ),
        ),
        Row(
            "Disk",
            (
                graph("Slowest 1 % of fsyncs", "s", (slowest("etcd_disk_wal_fsync_duration_seconds", "node"), "{{node}}")),
                graph("Fsyncs", "ops", (rate("etcd_disk_wal_fsync_duration_seconds_count", "node"), "{{node}}")),
                graph("Size", "bytes", (total("etcd_mvcc_db_total_size_in_bytes", "node"), "{{node}}"),
                      (total("etcd_mvcc_db_total_size_in_use_in_bytes", "node"), "{{node}} in use")),
            ),
        ),
        Row(
            "Clients",
            (
                graph("Calls", "ops", (rate("grpc_server_started_total", "grpc_method", 'job="etcd"'), "{{grpc_method}}")),
                graph("Slowest 1 % of calls", "s",
                      (slowest("grpc_server_handling_seconds", "grpc_method",
                               'job="etcd",grpc_type="unary",grpc_method=~"Range|Txn"'), "{{grpc_method}}")),
                graph("Bytes", "Bps",
                      (rate("etcd_network_client_grpc_received_bytes_total", "node"), "{{node}} in"),
                      (rate("etcd_network_client_grpc_sent_bytes_total", "node"), "{{node}} out")),
                graph("Watchers", "short", (total("etcd_debugging_mvcc_watcher_total", "node"), "{{node}}"),
                      (total("etcd_debugging_mvcc_slow_watcher_total", "node"), "{{node}} slow")),
                graph("Writes", "ops", (rate("etcd_mvcc_put_total", "node"), "{{node}} put"),
                      (rate("etcd_mvcc_delete_range_total", "node"), "{{node}} delete")),
                graph("Memory", "bytes", (total("process_resident_memory_bytes", "node", 'job="etcd"'), "{{node}}")),
            ),
        ),
    ),
)  # fmt: skip
