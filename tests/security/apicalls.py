"""One user's calls to a real api-server, over REST and gRPC, without a client's cleverness."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlencode

import grpc

from kube.component.tls import TlsFiles, client_context
from kube.machinery.errors import TRAILER
from kube.stubs.resources import resources_pb2 as pb
from kube.stubs.resources.resources_pb2_grpc import ResourcesStub
from tests.component.apiserver_harness import ApiServer

TIMEOUT_SECONDS = 60
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True)
class Answer:
    """The HTTP code, and the object or Status."""

    code: int
    body: Any

    @property
    def message(self) -> str:
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else ""


@dataclass(frozen=True)
class Rest:
    """A user by his certificate."""

    server: ApiServer
    tls: TlsFiles

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: tuple[tuple[str, str], ...] = (),
        content_type: str = "application/json",
        **query: str,
    ) -> Answer:
        context = client_context(self.tls)
        connection = HTTPSConnection(
            "127.0.0.1", self.server.https_port, timeout=TIMEOUT_SECONDS, context=context
        )
        data = b"" if body is None else json.dumps(body).encode()
        try:
            connection.putrequest(method, f"{path}?{urlencode(query)}" if query else path)
            connection.putheader("Content-Length", str(len(data)))
            if body is not None:
                connection.putheader("Content-Type", content_type)
            for name, value in headers:  # names may come twice
                connection.putheader(name, value)
            connection.endheaders(data)
            response = connection.getresponse()
            if query.get("watch") and response.status == 200:  # its answer does not end
                return Answer(response.status, {})
            return Answer(response.status, _decoded(response.read()))
        finally:
            connection.close()

    def get(self, path: str, **query: str) -> Answer:
        return self.call("GET", path, **query)

    def patch(self, path: str, kind: str, body: Any, **query: str) -> Answer:
        if kind == "apply":
            query = {"fieldManager": "test", **query}
        return self.call("PATCH", path, body, content_type=PATCHES[kind], **query)


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


class Grpc:
    """The same over the components' port. Close it."""

    def __init__(self, server: ApiServer, tls: TlsFiles) -> None:
        credentials = grpc.ssl_channel_credentials(
            tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
        )
        self._channel = grpc.secure_channel(server.grpc_address, credentials)
        self._stub = ResourcesStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: Any) -> Answer:
        try:
            answer = getattr(self._stub, method)(request, timeout=TIMEOUT_SECONDS)
            if method == "Watch":
                return _opened(answer)
        except grpc.RpcError as error:
            return _refused(error)
        return Answer(200, json.loads(answer.json) if hasattr(answer, "json") else answer)


def _opened(stream: Any) -> Answer:
    """Whether the watch stands: its headers are there and no refusal with them."""
    stream.initial_metadata()
    if stream.code.__self__.is_active():
        stream.cancel()
        return Answer(200, {})
    next(iter(stream))
    raise AssertionError("a watch that was over had an event")


def _refused(error: Any) -> Answer:
    trailers = dict(error.trailing_metadata() or ())
    status = trailers.get(TRAILER)
    body = json.loads(status) if status else {"message": error.details()}
    return Answer(int(body.get("code", 0)), body)


def ref(plural: str, name: str = "", namespace: str = "", sub: str = "", group: str = "") -> Any:
    return pb.Ref(group=group, resource=plural, namespace=namespace, name=name, subresource=sub)


def verified(tls: TlsFiles) -> ssl.SSLContext:
    """A client of that CA without a certificate of its own."""
    return ssl.create_default_context(cafile=str(tls.ca))
