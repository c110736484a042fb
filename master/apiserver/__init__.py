"""The api-server: the Kubernetes API over REST and gRPC, kept in an etcd v3 store."""
