"""What a member takes, and how much it keeps."""

from __future__ import annotations

from dataclasses import dataclass

_RECORDS_FOR_AN_ENTRY = 10
_MOST_ENTRIES = 100_000  # etcd 3.4's --snapshot-count


@dataclass(frozen=True, slots=True)
class Limits:
    quota_bytes: int = 2 << 30  # negative: none
    snapshot_count: int = 10_000
    progress_seconds: float = 600.0  # between notifications to watchers that asked for them
    catchup_entries: int = 5000  # kept behind a snapshot, for members that lag a little
    max_txn_ops: int = 128
    max_request_bytes: int = 3 << 19  # 1.5 MiB
    bcrypt_cost: int = 10

    def entries_for(self, records: int) -> int:
        """How many entries make a new snapshot of `records` worth while: a large state less
        often, so that the share of each entry is about the same; but the log, in memory and to
        be replayed after a restart, has an end."""
        return max(self.snapshot_count, min(records // _RECORDS_FOR_AN_ENTRY, _MOST_ENTRIES))
