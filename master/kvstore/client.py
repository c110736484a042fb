"""A small client for tools: one call to whichever member answers. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import grpc

from kube.component.tls import TlsFiles, grpc_channel_credentials
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from master.kvstore.errors import AuthNotEnabled

_T = TypeVar("_T")
_SECONDS = 5.0
_SNAPSHOT_SECONDS = 600.0


class Login(NamedTuple):
    user: str
    password: str


class _Details(NamedTuple):
    """What gRPC calls ClientCallDetails, with other metadata."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str]]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Signed(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Gives every call the token that this very member answers the login with: another one may
    not know it yet."""

    def __init__(self, channel: grpc.Channel, login: Login) -> None:
        self._channel = channel
        self._login = login
        self._metadata: list[tuple[str, str]] | None = None

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._signed(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._signed(details), request)

    def _signed(self, details: Any) -> _Details:
        if self._metadata is None:
            self._metadata = self._authenticate()
        return _Details(
            details.method, details.timeout, self._metadata, details.credentials,
            details.wait_for_ready, details.compression,
        )  # fmt: skip

    def _authenticate(self) -> list[tuple[str, str]]:
        request = rpc_pb2.AuthenticateRequest(name=self._login.user, password=self._login.password)
        try:
            answer = rpc_pb2_grpc.AuthStub(self._channel).Authenticate(request, timeout=_SECONDS)
        except grpc.RpcError as error:
            if error.details() != AuthNotEnabled.message:
                raise
            return []  # as etcdctl: where nobody is asked for a name, none is needed
        return [("token", answer.token)]


class StoreClient:
    """The members at `endpoints` (host:port), each with a channel of its own."""

    def __init__(
        self, endpoints: Sequence[str], tls: TlsFiles | None, login: Login | None = None
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._login = login
        self._credentials = grpc_channel_credentials(tls.material()) if tls else None
        self._channels = {endpoint: self._channel(endpoint) for endpoint in endpoints}

    def _channel(self, endpoint: str) -> grpc.Channel:
        if self._credentials is None:
            channel = grpc.insecure_channel(endpoint)
        else:
            channel = grpc.secure_channel(endpoint, self._credentials)
        if self._login is None:
            return channel
        return grpc.intercept_channel(channel, _Signed(channel, self._login))

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def any(self, call: Callable[[grpc.Channel], _T]) -> _T:
        """The first answer; the last error when nobody answers."""
        for endpoint in self.endpoints[:-1]:
            try:
                return call(self._channels[endpoint])
            except grpc.RpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise
        return call(self._channels[self.endpoints[-1]])

    def members(self) -> list[rpc_pb2.Member]:
        request = rpc_pb2.MemberListRequest()
        response = self.any(
            lambda channel: rpc_pb2_grpc.ClusterStub(channel).MemberList(request, timeout=_SECONDS)
        )
        return list(response.members)

    def status(self, endpoint: str) -> rpc_pb2.StatusResponse:
        stub = rpc_pb2_grpc.MaintenanceStub(self._channels[endpoint])
        return stub.Status(rpc_pb2.StatusRequest(), timeout=_SECONDS)

    def statuses(self) -> Iterator[tuple[str, rpc_pb2.StatusResponse | None, str]]:
        """Each endpoint with its status, or with why it has none."""
        for endpoint in self.endpoints:
            try:
                yield endpoint, self.status(endpoint), ""
            except grpc.RpcError as error:
                yield endpoint, None, error.details() or error.code().name

    def move_leader(self, target: int) -> None:
        """Asks every member: only the leader does it."""
        leader = next(
            endpoint
            for endpoint, status, _ in self.statuses()
            if status is not None and status.header.member_id == status.leader
        )
        stub = rpc_pb2_grpc.MaintenanceStub(self._channels[leader])
        stub.MoveLeader(rpc_pb2.MoveLeaderRequest(targetID=target), timeout=_SECONDS)

    def range(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        response: Any = self.any(
            lambda channel: rpc_pb2_grpc.KVStub(channel).Range(request, timeout=_SECONDS)
        )
        assert isinstance(response, rpc_pb2.RangeResponse)
        return response

    def save_snapshot(self, path: Path) -> int:
        """The bytes written. The name exists only with the whole content."""
        scratch = path.with_name(path.name + ".part")
        stub = rpc_pb2_grpc.MaintenanceStub(self._channels[self.endpoints[0]])
        try:
            with scratch.open("wb") as out:
                for part in stub.Snapshot(rpc_pb2.SnapshotRequest(), timeout=_SNAPSHOT_SECONDS):
                    out.write(part.blob)
                size = out.tell()
            scratch.rename(path)
        finally:
            scratch.unlink(missing_ok=True)
        return size
