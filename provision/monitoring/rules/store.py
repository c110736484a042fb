"""The store: members, leader, disk (etcd's mixin). Pure."""

from __future__ import annotations

from provision.monitoring.rules.rule import Alert, Group

_STORE = 'job=~".*etcd.*"'


def _p99(series: str, by: str = "cluster, instance, le") -> str:
    return f"histogram_quantile(0.99, sum by ({by}) (rate({series}{{{_STORE}}}[5m])))"


def _failing(percent: int, delay: str, severity: str) -> Alert:
    codes = "Unknown|FailedPrecondition|ResourceExhausted|Internal|Unavailable|DataLoss|DeadlineExceeded"
    by = "cluster, instance, grpc_service, grpc_method"
    return Alert(
        "etcdHighNumberOfFailedGRPCRequests", delay, severity,
        f"""100 * sum by ({by}) (rate(grpc_server_handled_total{{{_STORE},grpc_code=~"{codes}"}}[5m]))
        / sum by ({by}) (rate(grpc_server_handled_total{{{_STORE}}}[5m])) > {percent}""",
        f"More than {percent} % of {{{{ $labels.grpc_method }}}} calls on "
        "{{ $labels.instance }} fail.",
    )  # fmt: skip


def _quota(percent: int, severity: str) -> Alert:
    return Alert(
        "etcdDatabaseQuotaLowSpace", "10m", severity,
        f"""100 * etcd_mvcc_db_total_size_in_bytes{{{_STORE}}}
        / etcd_server_quota_backend_bytes{{{_STORE}}} > {percent}""",
        f"The store on {{{{ $labels.node }}}} has used {percent} % of its quota.",
    )  # fmt: skip


GROUPS = (
    Group(
        "etcd",
        (
            Alert(
                "etcdMembersDown", "20m", "warning",
                f"count by (cluster) (up{{{_STORE}}} == 0) > 0",
                "{{ $value }} members of the store are down.",
            ),
            Alert(
                "etcdInsufficientMembers", "3m", "critical",
                f"""sum by (cluster) (up{{{_STORE}}} == bool 1)
                < (count by (cluster) (up{{{_STORE}}}) + 1) / 2""",
                "Too few members of the store are up for a quorum.",
            ),
            Alert(
                "etcdNoLeader", "1m", "critical", f"etcd_server_has_leader{{{_STORE}}} == 0",
                "The member on {{ $labels.node }} knows of no leader.",
            ),
            Alert(
                "etcdHighNumberOfLeaderChanges", "5m", "warning",
                f"increase(etcd_server_leader_changes_seen_total{{{_STORE}}}[15m]) >= 4",
                "The leader has changed {{ $value }} times within 15 minutes.",
            ),
            _failing(1, "10m", "warning"),
            _failing(5, "5m", "critical"),
            Alert(
                "etcdGRPCRequestsSlow", "10m", "critical",
                """histogram_quantile(0.99, sum by (cluster, instance, grpc_service, grpc_method, le) (
                rate(grpc_server_handling_seconds_bucket{job=~".*etcd.*",grpc_type="unary",
                grpc_method!="Defragment"}[5m]))) > 0.15""",
                "{{ $labels.grpc_method }} takes {{ $value | humanizeDuration }} on "
                "{{ $labels.instance }}.",
            ),
            Alert(
                "etcdMemberCommunicationSlow", "10m", "warning",
                _p99("etcd_network_peer_round_trip_time_seconds_bucket", "cluster, instance, To, le")
                + " > 0.15",
                "A round trip to member {{ $labels.To }} takes {{ $value | humanizeDuration }}.",
            ),
            Alert(
                "etcdHighNumberOfFailedProposals", "15m", "warning",
                f"increase(etcd_server_proposals_failed_total{{{_STORE}}}[15m]) > 5",
                "{{ $value }} proposals have failed on {{ $labels.node }}.",
            ),
            *(
                Alert(
                    "etcdHighFsyncDurations", "10m", severity,
                    f'{_p99("etcd_disk_wal_fsync_duration_seconds_bucket")} > {seconds}',
                    "An fsync of the log takes {{ $value | humanizeDuration }}.",
                )
                for seconds, severity in ((0.5, "warning"), (1, "critical"))
            ),
            Alert(
                "etcdHighCommitDurations", "10m", "warning",
                _p99("etcd_disk_backend_commit_duration_seconds_bucket") + " > 0.25",
                "A commit takes {{ $value | humanizeDuration }}.",
            ),
            _quota(95, "critical"),
            Alert(
                "etcdExcessiveDatabaseGrowth", "10m", "warning",
                f"""predict_linear(etcd_mvcc_db_total_size_in_bytes{{{_STORE}}}[4h], 4 * 3600)
                > etcd_server_quota_backend_bytes{{{_STORE}}}""",
                "The store on {{ $labels.node }} will have used its quota within four hours.",
            ),
            Alert(
                "etcdDatabaseHighFragmentationRatio", "10m", "warning",
                f"""etcd_mvcc_db_total_size_in_use_in_bytes{{{_STORE}}}
                / etcd_mvcc_db_total_size_in_bytes{{{_STORE}}} < 0.5
                and etcd_mvcc_db_total_size_in_use_in_bytes{{{_STORE}}} > 100 * 1024 * 1024""",
                "Less than half of what the store on {{ $labels.node }} occupies is in use.",
            ),
        ),
        "etcd",
    ),
)  # fmt: skip
