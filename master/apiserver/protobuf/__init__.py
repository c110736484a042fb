"""Kubernetes' protobuf bodies, as kubectl sends what it makes itself. Answers are JSON."""
