"""grpcio's stubs for one member: what etcdctl does not say, is said through these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tests.component.kvstore_harness import StoreCluster, StoreProcess


@contextmanager
def channel(cluster: StoreCluster, member: StoreProcess | None = None) -> Iterator[grpc.Channel]:
    tls = cluster.client
    credentials = grpc.ssl_channel_credentials(
        tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
    )
    address = f"127.0.0.1:{(member or cluster.members[0]).client_port}"
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.secure_channel(address, credentials, options) as opened:
        yield opened
