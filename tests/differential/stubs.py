"""grpcio's stubs for one member: what etcdctl does not say, is said through these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import grpc
from google.protobuf.message import Message

from kube.stubs.etcd import election_pb2_grpc, lock_pb2_grpc, rpc_pb2, rpc_pb2_grpc
from tests.component.kvstore_harness import StoreCluster, StoreProcess

SECONDS = 60


@contextmanager
def channel(cluster: StoreCluster, member: StoreProcess | None = None) -> Iterator[grpc.Channel]:
    tls = cluster.client
    credentials = grpc.ssl_channel_credentials(
        tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
    )
    address = f"127.0.0.1:{(member or cluster.members[0]).client_port}"
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.secure_channel(address, credentials, options) as opened:
        yield opened


@dataclass
class Stubs:
    auth: Any
    kv: Any
    watch: Any
    lease: Any
    lock: Any
    election: Any

    @classmethod
    def on(cls, opened: grpc.Channel) -> Stubs:
        return cls(
            rpc_pb2_grpc.AuthStub(opened),
            rpc_pb2_grpc.KVStub(opened),
            rpc_pb2_grpc.WatchStub(opened),
            rpc_pb2_grpc.LeaseStub(opened),
            lock_pb2_grpc.LockStub(opened),
            election_pb2_grpc.ElectionStub(opened),
        )

    def revision(self) -> int:
        return int(self.kv.Range(rpc_pb2.RangeRequest(key=b"x"), timeout=SECONDS).header.revision)


def answer(call: Callable[..., Message], request: Message) -> str:
    """The response as text without what must differ, or the error's code and words."""
    try:
        return shown(call(request, timeout=SECONDS))
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        return f"{error.code().name}: {error.details()}"


def shown(message: Any) -> str:
    """A message as text, without who answered and in which term."""
    for name in ("cluster_id", "member_id", "raft_term"):
        assert getattr(message.header, name), f"{name} is missing"
        message.header.ClearField(name)
    return str(message)


class WatchStream:
    """One stream of watches: what is sent, and what comes back, in order."""

    def __init__(self, stubs: Stubs) -> None:
        self._requests: SimpleQueue[rpc_pb2.WatchRequest | None] = SimpleQueue()
        self._responses = stubs.watch.Watch(iter(self._requests.get, None), timeout=200)

    def __enter__(self) -> WatchStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._responses.cancel()

    def create(self, **fields: Any) -> None:
        create = rpc_pb2.WatchCreateRequest(**fields)
        self._requests.put(rpc_pb2.WatchRequest(create_request=create))

    def cancel(self, watch_id: int) -> None:
        cancel = rpc_pb2.WatchCancelRequest(watch_id=watch_id)
        self._requests.put(rpc_pb2.WatchRequest(cancel_request=cancel))

    def ask_progress(self) -> None:
        progress = rpc_pb2.WatchProgressRequest()
        self._requests.put(rpc_pb2.WatchRequest(progress_request=progress))

    def empty_request(self) -> None:
        self._requests.put(rpc_pb2.WatchRequest())

    def next(self) -> rpc_pb2.WatchResponse:
        response: rpc_pb2.WatchResponse = next(self._responses)
        return response

    def take(self, count: int) -> list[str]:
        return [shown(self.next()) for _ in range(count)]
