"""The api-server's side of the etcd v3 API: calls with failover, one watch, leases, compaction."""
