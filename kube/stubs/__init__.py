"""Protobuf and gRPC stubs, generated from `proto/`. Never edited."""
