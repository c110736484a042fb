"""The store: etcd's role. Raft core, write-ahead log, MVCC, leases, watches, etcd's v3 services."""
