"""One of the two stores: real processes, grpcio's channels, tokens and watch streams."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kube.stubs.etcd import election_pb2, lock_pb2, rpc_pb2
from tests.component.kvstore_harness import StoreCluster, store_cluster
from tests.component.pki_fixture import Pki
from tests.differential.hunt.steps import Asked, Call, Names, Watch
from tests.differential.pair import lead_by_first

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_ACQUAINTED_SECONDS = 5.1  # etcd's members must have been connected so long for a change
_FLAGS = ("--bcrypt-cost", "4")


@dataclass
class Outcome:
    """What a call gave: messages, encoded, and how it ended."""

    messages: list[bytes]
    code: str
    details: str


class Stream:
    """A watch stream: a thread gathers what comes."""

    def __init__(self, call: Callable[..., Any], metadata: list[tuple[str, str]]) -> None:
        self.received: list[bytes] = []
        self.ended = ""
        self.closed = False  # by the client, that still listens
        self.sent = 0  # requests for progress, each of which is answered
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._responses = call(iter(self._requests.get, None), metadata=metadata)
        threading.Thread(target=self._gather, daemon=True).start()

    def _gather(self) -> None:
        try:
            for response in self._responses:
                self.received.append(response)
            self.ended = "OK"
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            self.ended = f"{error.code().name}: {error.details()}"

    def send(self, request: bytes, *, progress: bool) -> None:
        self.sent += progress
        self._requests.put(request)

    def progressed(self) -> int:
        """How many of them were."""
        return sum(_is_progress(one) for one in list(self.received))

    def half_close(self) -> None:
        self.closed = True
        self._requests.put(None)

    def cancel(self) -> None:
        self._requests.put(None)
        self._responses.cancel()


@dataclass
class Side:
    cluster: StoreCluster
    names: Names = field(default_factory=Names)
    tokens: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    streams: dict[int, Stream] = field(default_factory=dict)
    auth_enabled: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)
    _channels: dict[tuple[int, bool], grpc.Channel] = field(default_factory=dict)

    def learn_names(self) -> None:
        """The members' ids, by their names, and their peers' URLs."""
        found = self.message(Call("Cluster/MemberList", (rpc_pb2.MemberListRequest(),)))
        ids = {member.peerURLs[0]: member.ID for member in found.members}
        self.names.members = [ids[member.peer_url] for member in self.cluster.members]
        self.names.peer_urls = {
            f"peer-{number}": member.peer_url for number, member in enumerate(self.cluster.members)
        }

    def alive(self) -> bool:
        return all(
            member.process is not None and member.process.poll() is None
            for member in self.cluster.members
        )

    def message(self, call: Call) -> Any:
        """The answer to a call that must succeed."""
        outcome = self.ask(call)()
        assert outcome.code == "OK", f"{call}: {outcome.code}: {outcome.details}"
        return response_class(call.path).FromString(outcome.messages[0])

    def ask(self, call: Call) -> Callable[[], Outcome]:
        """Ask now; the answer is what the returned function waits for."""
        bodies = self.names.bodies(call.bodies)
        channel = self._channel(call.asked)
        path = full_path(call.path)
        how: dict[str, Any] = {"timeout": call.seconds, "metadata": self._metadata(call.asked)}
        if call.compressed:
            how["compression"] = grpc.Compression.Gzip
        if len(bodies) == 1 and not streams_answers(call.path):
            future = channel.unary_unary(path).future(bodies[0], **how)
            return lambda: _outcome(lambda: [future.result()], future)
        responses = channel.stream_stream(path)(iter(bodies), **how)
        return lambda: _outcome(lambda: list(responses), responses)

    def remember(self, call: Call, outcome: Outcome) -> None:
        """Tokens are for later calls."""
        if outcome.code == "OK" and call.path in ("Auth/AuthEnable", "Auth/AuthDisable"):
            self.auth_enabled = call.path == "Auth/AuthEnable"
            if not self.auth_enabled:
                self._leave_streams()  # they carry tokens, that etcd 3.4 still looks at
        if call.path == "Auth/Authenticate" and outcome.code == "OK":
            (request,) = call.bodies
            assert isinstance(request, rpc_pb2.AuthenticateRequest)
            response = rpc_pb2.AuthenticateResponse.FromString(outcome.messages[0])
            self.tokens[request.name].append(response.token)

    def watch(self, step: Watch) -> None:
        if step.stream not in self.streams:
            call = self._channel(step.asked).stream_stream(full_path("Watch/Watch"))
            self.streams[step.stream] = Stream(call, self._metadata(step.asked))
        asks = isinstance(step.body, rpc_pb2.WatchRequest) and step.body.HasField(
            "progress_request"
        )
        self.streams[step.stream].send(self.names.body(step.body), progress=asks)

    def _metadata(self, asked: Asked) -> list[tuple[str, str]]:
        metadata = list(asked.metadata)
        if not self.auth_enabled:
            pass  # etcd 3.4 wants tokens to be valid even then
        elif asked.user == "?":
            metadata.append(("token", "nonsense.1"))
        elif asked.user:
            place = -2 if asked.user.startswith("-") else -1
            tokens = self.tokens[asked.user.lstrip("-")]
            if len(tokens) >= -place:
                metadata.append(("token", tokens[place]))
        return metadata

    def _channel(self, asked: Asked) -> grpc.Channel:
        key = asked.member, asked.certificate
        if key not in self._channels:
            member = self.cluster.members[asked.member]
            if asked.certificate:
                tls = self.cluster.client
                credentials = grpc.ssl_channel_credentials(
                    tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
                )
                address = f"127.0.0.1:{member.client_port}"
                opened = grpc.secure_channel(address, credentials, _OPTIONS)
            else:
                opened = grpc.insecure_channel(f"127.0.0.1:{member.plain_port}", _OPTIONS)
            self._channels[key] = self._stack.enter_context(opened)
        return self._channels[key]

    def _leave_streams(self) -> None:
        for stream in self.streams.values():
            stream.cancel()
        self.streams.clear()

    def close(self) -> None:
        self._leave_streams()
        self._stack.close()


def _is_progress(data: bytes) -> bool:
    response = rpc_pb2.WatchResponse.FromString(data)
    return response.watch_id == -1 and not response.canceled


def _outcome(messages: Callable[[], list[bytes]], call: grpc.Call) -> Outcome:
    try:
        return Outcome(messages(), "OK", "")
    except grpc.RpcError:
        return Outcome([], call.code().name, call.details() or "")


@contextmanager
def started(directory: Path, pki: Pki, members: int, *, stock: bool) -> Iterator[Side]:
    program = ("etcd",) if stock else ()
    directory.mkdir(parents=True)
    with store_cluster(directory, pki, members, *_FLAGS, program=program, plain=True) as cluster:
        if members > 1:
            lead_by_first(cluster)
            time.sleep(_ACQUAINTED_SECONDS)
        side = Side(cluster)
        try:
            side.learn_names()
            yield side
        finally:
            side.close()


def full_path(path: str) -> str:
    service, method = path.split("/")
    packages = {"Lock": "v3lockpb", "Election": "v3electionpb"}
    return f"/{packages.get(service, 'etcdserverpb')}.{service}/{method}"


@cache
def _rpc(path: str) -> Any:
    service, method = path.split("/")
    for file in (rpc_pb2, lock_pb2, election_pb2):
        found = file.DESCRIPTOR.services_by_name.get(service)
        if found is not None:
            return found.methods_by_name.get(method)
    return None


def streams_answers(path: str) -> bool:
    rpc = _rpc(path)
    return rpc is not None and (rpc.server_streaming or rpc.client_streaming)


def response_class(path: str) -> type[Message]:
    return GetMessageClass(_rpc(path).output_type)
