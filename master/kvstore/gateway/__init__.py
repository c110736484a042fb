"""What etcd's client port answers beside gRPC: /health, /metrics, /version, and JSON under /v3/."""
