"""The components' client of the api-server: typed objects over the gRPC Resources service.

Every component holds one `Client`. It sticks to one api-server, moves to the next when that
one is gone, and repeats by itself only what is safe to repeat: reads, and writes that a
second execution cannot double (an update names its resource_version, a delete its uid).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from kube.api.core import Pod
from kube.api.meta import DeleteOptions, Preconditions, Status
from kube.client.channel import NoServer, ServerList
from kube.client.metrics import observe
from kube.component.tls import TlsMaterial, load_kubeconfig
from kube.machinery import errors
from kube.machinery.scheme import (
    ApiObject,
    OpenObject,
    Resource,
    decode,
    encode,
    resource_for,
    resource_for_kind,
)
from kube.rpc.channel import Channel, Stub
from kube.rpc.errors import RpcError
from kube.stubs.resources import resources_pb2 as pb

T = TypeVar("T", bound=ApiObject)
ResponseT = TypeVar("ResponseT")
Invoke = Callable[[Any], Awaitable[ResponseT]]
_SERVICE = pb.DESCRIPTOR.services_by_name["Resources"]

# How long one server may take over a call that can be repeated on another. A node that renews
# its lease every second must get it through well within the grace (6 s in the fast profile),
# although the server that it used has just lost power.
FAILOVER_SECONDS = 1.5

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """One page of a collection, as of `resource_version`."""

    items: tuple[T, ...]
    resource_version: str
    continue_: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """ADDED, MODIFIED, DELETED, or BOOKMARK (only metadata.resource_version is set)."""

    type: str
    object: T


@dataclass(frozen=True, slots=True)
class ServedKind:
    """A kind that the server has, in one version; of each kind exactly one version is stored."""

    resource: Resource
    stored: bool


class Client:
    """Typed calls to the api-server. Use as an async context manager.

    `type_` is what an object is read as. Where that does not tell what the object is, because it
    is read as metadata alone (`ApiObject`) or is a custom resource (`OpenObject`), `resource` does.
    """

    def __init__(self, servers: ServerList, timeout: float = 10.0, attempts: int = 3) -> None:
        self._servers = servers
        self._timeout = timeout
        self._attempts = attempts

    @classmethod
    def connect(
        cls,
        servers: Sequence[str],
        kubeconfig: Path | TlsMaterial | None = None,
        *,
        timeout: float = 10.0,
    ) -> Self:
        """A client of `servers` ("host:6444"), with the identity of a kubeconfig.

        Connects on the first call. Without an identity the connection is plaintext, for
        servers on loopback in tests.
        """
        if isinstance(kubeconfig, Path):
            kubeconfig = load_kubeconfig(kubeconfig).material
        return cls(ServerList(servers, kubeconfig), timeout)

    @property
    def servers(self) -> ServerList:
        """For those who speak to the same api-servers in another way."""
        return self._servers

    def with_timeout(self, timeout: float) -> Client:
        """The same connections with another deadline per call, for what cannot wait long."""
        return Client(self._servers, timeout, self._attempts)

    def apart(self, timeout: float) -> Client:
        """A client of the same servers with connections of its own: for another event loop, and
        for what must not wait behind a thousand other calls."""
        return Client(self._servers.apart(), timeout, self._attempts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._servers.close()

    # -- reads

    async def get(
        self, type_: type[T], name: str, namespace: str = "", resource: Resource | None = None
    ) -> T:
        request = pb.GetRequest(ref=_ref(type_, namespace, name, resource=resource))
        response = await self._call("Get", lambda stub: stub.Get, request, repeatable=True)
        return decode(type_, response.json)

    async def list(
        self,
        type_: type[T],
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
        resource: Resource | None = None,
    ) -> Listing[T]:
        request = pb.ListRequest(
            ref=_ref(type_, namespace, resource=resource),
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            resource_version=resource_version,
            **{"continue": continue_},
        )
        response = await self._call("List", lambda stub: stub.List, request, repeatable=True)
        items = tuple(decode(type_, item) for item in response.items)
        return Listing(items, response.resource_version, getattr(response, "continue"))

    async def watch(
        self,
        type_: type[T],
        namespace: str = "",
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        allow_bookmarks: bool = True,
        timeout_seconds: int = 0,
        on_open: Callable[[], None] | None = None,
        resource: Resource | None = None,
    ) -> AsyncIterator[WatchEvent[T]]:
        """Events after `resource_version`, until the server ends the stream.

        `on_open` is called once the server has accepted the watch.

        Raises Expired when that version is compacted, ServiceUnavailable when the server is
        gone: the caller starts again, from its last version or with a new list.
        """
        request = pb.WatchRequest(
            ref=_ref(type_, namespace, resource=resource),
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            allow_watch_bookmarks=allow_bookmarks,
            timeout_seconds=timeout_seconds,
        )
        stream = self._stream("Watch", lambda stub: stub.Watch, request, on_open)
        async with aclosing(stream) as events:
            async for event in events:
                if event.type == "ERROR":
                    raise errors.from_status(msgspec.json.decode(event.object, type=Status))
                yield WatchEvent(event.type, decode(type_, event.object))

    async def discover(self) -> AsyncGenerator[tuple[ServedKind, ...], None]:
        """All kinds that the server has, now and after each change; custom ones too.

        Ends like a watch.
        """
        stream = self._stream("Discover", lambda stub: stub.Discover, pb.DiscoverRequest())
        async with aclosing(stream) as answers:
            async for answer in answers:
                yield tuple(_served(kind) for kind in answer.kinds)

    async def _stream(
        self,
        name: str,
        method: Callable[[Stub], Callable[..., Any]],
        request: Any,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Any, None]:
        server, channel = await self._ready()
        began = _now()
        code: int | str = "<error>"
        try:
            call = method(channel.stub(_SERVICE))(request)
            await call.initial_metadata()
            # A refused call has (empty) metadata too, but is over.
            if on_open is not None and not call.done():
                on_open()
            async for answer in call:
                code = 200
                yield answer
            code = 200
        except RpcError as error:
            failed = self._failed(server, error)
            code = failed.http_code
            raise failed from error
        finally:
            observe(name, server, code, _now() - began)

    # -- writes

    async def create(self, obj: T, field_manager: str = "", resource: Resource | None = None) -> T:
        ref = _ref(type(obj), obj.metadata.namespace, obj.metadata.name, resource=resource)
        request = pb.CreateRequest(ref=ref, json=encode(obj), field_manager=field_manager)
        response = await self._call("Create", lambda stub: stub.Create, request)
        return decode(type(obj), response.json)

    async def update(self, obj: T, resource: Resource | None = None) -> T:
        return await self._update(obj, "", resource)

    async def update_status(self, obj: T, resource: Resource | None = None) -> T:
        return await self._update(obj, "status", resource)

    async def _update(self, obj: T, subresource: str, resource: Resource | None) -> T:
        meta = obj.metadata
        ref = _ref(type(obj), meta.namespace, meta.name, subresource, resource)
        request = pb.UpdateRequest(ref=ref, json=encode(obj))
        # Done twice, the second one meets a newer version: a Conflict, never a double.
        repeatable = bool(meta.resource_version)
        response = await self._call(
            "Update", lambda stub: stub.Update, request, repeatable=repeatable
        )
        return decode(type(obj), response.json)

    async def patch(
        self,
        type_: type[T],
        name: str,
        patch: Mapping[str, Any] | Sequence[Any] | bytes,
        namespace: str = "",
        type: str = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        resource: Resource | None = None,
    ) -> T:
        request = pb.PatchRequest(
            ref=_ref(type_, namespace, name, subresource, resource),
            patch_type=PATCH_TYPES[type],
            patch=patch if isinstance(patch, bytes) else msgspec.json.encode(patch),
            field_manager=field_manager,
            force=force,
        )
        # Merging the same values twice is merging them once; a JSON patch may append.
        response = await self._call(
            "Patch", lambda stub: stub.Patch, request, repeatable=type in ("merge", "apply")
        )
        return decode(type_, response.json)

    async def delete(
        self,
        type_: type[Any],
        name: str,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        resource: Resource | None = None,
    ) -> None:
        preconditions = None
        if uid or resource_version:
            preconditions = Preconditions(uid=uid, resource_version=resource_version)
        options = DeleteOptions(
            grace_period_seconds=grace_period_seconds,
            preconditions=preconditions,
            propagation_policy=propagation_policy or "",
        )
        request = pb.DeleteRequest(
            ref=_ref(type_, namespace, name, resource=resource),
            options=_with_kind(options, "v1", "DeleteOptions"),
        )
        # The uid keeps a repetition from hitting a namesake that was created in between.
        await self._call("Delete", lambda stub: stub.Delete, request, repeatable=bool(uid))

    async def bind(self, namespace: str, pod: str, node: str, uid: str = "") -> None:
        """Assign a pod to a node: POST pods/NAME/binding."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod, "namespace": namespace} | ({"uid": uid} if uid else {}),
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._create_subresource(namespace, pod, "binding", msgspec.json.encode(body))

    async def evict(
        self, namespace: str, pod: str, grace_period_seconds: int | None = None
    ) -> None:
        """Delete a pod by POST pods/NAME/eviction (policy/v1)."""
        body: dict[str, Any] = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        if grace_period_seconds is not None:
            body["deleteOptions"] = {"gracePeriodSeconds": grace_period_seconds}
        await self._create_subresource(namespace, pod, "eviction", msgspec.json.encode(body))

    async def finalize_namespace(self, body: ApiObject) -> None:
        """PUT namespaces/NAME/finalize: the only way to change spec.finalizers."""
        ref = _ref(type(body), "", body.metadata.name, "finalize")
        request = pb.UpdateRequest(ref=ref, json=encode(body))
        await self._call("Update", lambda stub: stub.Update, request, repeatable=True)

    async def _create_subresource(
        self, namespace: str, pod: str, subresource: str, body: bytes
    ) -> None:
        ref = _ref(Pod, namespace, pod, subresource)
        await self._call("Create", lambda stub: stub.Create, pb.CreateRequest(ref=ref, json=body))

    # -- transport

    async def _ready(self) -> tuple[str, Channel]:
        try:
            return await self._servers.ready()
        except NoServer as error:
            raise errors.ServiceUnavailable(str(error)) from error

    async def _call(
        self,
        name: str,
        method: Callable[[Stub], Callable[..., Awaitable[Any]]],
        request: Any,
        *,
        repeatable: bool = False,
    ) -> Any:
        """One unary call, repeated on the next server only where that is safe."""
        failure: errors.StatusError | None = None
        attempts = self._attempts if repeatable else 1
        # A list may rightly take long; anything else that can be asked elsewhere soon is.
        hurry = repeatable and name != "List" and len(self._servers.servers) > 1
        for attempt in range(attempts):
            server, channel = await self._ready()
            last = attempt == attempts - 1
            timeout = min(self._timeout, FAILOVER_SECONDS) if hurry and not last else self._timeout
            try:
                return await self._call_once(name, method, request, server, channel, timeout)
            except (errors.ServiceUnavailable, errors.Timeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def _call_once(
        self,
        name: str,
        method: Callable[[Stub], Callable[..., Awaitable[Any]]],
        request: Any,
        server: str,
        channel: Channel,
        timeout: float,
    ) -> Any:
        began = _now()
        code: int | str = "<error>"
        try:
            response = await method(channel.stub(_SERVICE))(request, timeout=timeout)
            code = 201 if name == "Create" else 200
            return response
        except RpcError as error:
            failed = self._failed(server, error)
            code = failed.http_code
            raise failed from error
        finally:
            observe(name, server, code, _now() - began)

    def _failed(self, server: str, error: RpcError) -> errors.StatusError:
        """The typed error of a failed call; leaves a server that cannot answer."""
        found = status_error(error)
        if isinstance(found, errors.ServiceUnavailable | errors.Timeout):
            self._servers.failed(server)
        return found


def status_error(error: RpcError) -> errors.StatusError:
    """From the Status in the trailing metadata, else from the gRPC code alone."""
    for key, value in error.trailers:
        if key == errors.TRAILER:
            raw = value if isinstance(value, bytes) else str(value).encode()
            return errors.from_status(msgspec.json.decode(raw, type=Status))
    text = error.message or error.code.name
    for cls in (
        errors.ServiceUnavailable,
        errors.Timeout,
        errors.Unauthorized,
        errors.Forbidden,
        errors.BadRequest,
        errors.MethodNotAllowed,
        errors.TooLarge,
    ):
        if cls.code is error.code:
            return cls(text)
    return errors.InternalError(f"{error.code.name}: {text}")


def _served(kind: pb.ServedKind) -> ServedKind:
    group_version = f"{kind.group}/{kind.version}" if kind.group else kind.version
    known = resource_for_kind(group_version, kind.kind)
    resource = known or Resource(
        kind.group, kind.version, kind.kind, kind.resource, OpenObject, namespaced=kind.namespaced
    )
    return ServedKind(resource, kind.stored)


def _ref(
    type_: type[Any],
    namespace: str = "",
    name: str = "",
    subresource: str = "",
    resource: Resource | None = None,
) -> pb.Ref:
    resource = resource or resource_for(type_)
    return pb.Ref(
        group=resource.group,
        version=resource.version,
        resource=resource.plural,
        namespace=namespace if resource.namespaced else "",
        name=name,
        subresource=subresource,
    )


def _with_kind(obj: msgspec.Struct, api_version: str, kind: str) -> bytes:
    body: dict[str, Any] = msgspec.to_builtins(obj)
    return msgspec.json.encode({"apiVersion": api_version, "kind": kind} | body)


def _now() -> float:
    return asyncio.get_running_loop().time()
