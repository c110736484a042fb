"""The verbs on resources: URL, query and body to `Api` calls, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from kube.api.meta import DeleteOptions
from kube.component.webhandler import abort
from kube.machinery.errors import MethodNotAllowed, NotFound, UnsupportedMediaType
from master.apiserver import metrics
from master.apiserver.authn.identity import User
from master.apiserver.decoding.codec import Codec
from master.apiserver.decoding.limits import check_depth
from master.apiserver.decoding.query import integer, unsupported
from master.apiserver.kinds.registry import Registry
from master.apiserver.registry.api import PATCH_TYPES, Api, most_values
from master.apiserver.registry.options import (
    DeleteBody,
    ListOptions,
    ObjectBody,
    Target,
    WatchOptions,
    WriteOptions,
)
from master.apiserver.rest.body import (
    FieldValidation,
    decode_object,
    delete_options,
    describe,
    parse_body,
    read_body,
)
from master.apiserver.rest.negotiate import negotiate
from master.apiserver.rest.requestinfo import ResourcePath
from master.apiserver.rest.responses import (
    json_response,
    list_body,
    list_meta,
    plain_response,
    status_success,
)
from master.apiserver.rest.tables.render import (
    TableOptions,
    render_list,
    render_object,
    render_table,
)
from master.apiserver.rest.watch import stream_watch

DEFAULT_WATCH_SECONDS = 1800.0


def truthy(query: dict[str, str], name: str) -> bool:
    """Go's bool parameters: present and not false."""
    return name in query and query[name].lower() not in ("false", "0", "f")


class ResourceHandlers:
    def __init__(self, api: Api, registry: Registry) -> None:
        self._api = api
        self._registry = registry

    async def handle(
        self, request: web.Request, path: ResourcePath, verb: str, user: User
    ) -> web.StreamResponse:
        """Answer what was authorized: the verb is what the filters let through."""
        target, query = self._target(path), dict(request.query)
        match verb:
            case "get":
                return await self._get(request, target, query)
            case "list":
                return await self._list(request, target, query)
            case "watch":
                return await self._watch(request, target, query)
            case "create":
                return await self._create(request, target, user, query)
            case "update" if target.name:
                return await self._update(request, target, user, query)
            case "patch" if target.name:
                return await self._patch(request, target, user, query)
            case "delete":
                return await self._delete(request, target, user, query)
            case "deletecollection":
                return await self._delete_collection(request, target, user, query)
        raise MethodNotAllowed("the server does not allow this method on the requested resource")

    def _target(self, path: ResourcePath) -> Target:
        kind = self._registry.find(path.group, path.version, path.plural)
        if kind is None or path.rest:
            raise NotFound("the server could not find the requested resource")
        namespaced = kind.resource.namespaced
        # What was authorized was asked with this namespace: nothing else is to be answered.
        if (path.namespace and not namespaced) or (path.name and namespaced and not path.namespace):
            raise NotFound("the server could not find the requested resource")
        target = Target(kind, path.namespace, path.name, path.subresource)
        if path.subresource and target.part is None:
            raise NotFound("the server could not find the requested resource")
        return target

    async def _get(
        self, request: web.Request, target: Target, query: dict[str, str]
    ) -> web.Response:
        accepted = negotiate(request.headers.get("Accept", ""))
        data = await self._api.get(target, query.get("resourceVersion", ""))
        if accepted.form == "object" or target.body is not target.kind.codec:
            return json_response(data)
        if accepted.form == "metadata":
            return json_response(render_object(data, accepted.version))
        options = TableOptions(accepted.version, query.get("includeObject", "Metadata"))
        return json_response(render_table(target.kind, [data], options, {}))

    async def _list(
        self, request: web.Request, target: Target, query: dict[str, str]
    ) -> web.StreamResponse:
        accepted = negotiate(request.headers.get("Accept", ""))
        options = ListOptions(
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
            integer(query, "limit", 0) or 0,
            query.get("continue", ""),
            query.get("resourceVersion", ""),
            query.get("resourceVersionMatch", ""),
        )
        listed = await self._api.list(target, options)
        if accepted.form == "object":
            return json_response(list_body(target.resource, listed))
        if accepted.form == "metadata":
            items = [render_object(d, accepted.version) for d in listed.items]
            head = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": f"meta.k8s.io/{accepted.version}",
                "metadata": list_meta(listed),
                "items": [msgspec.Raw(item) for item in items],
            }
            return plain_response(head)
        table = TableOptions(accepted.version, query.get("includeObject", "Metadata"))
        rows = await render_list(target.kind, listed.items, table, list_meta(listed))
        return json_response(rows)

    async def _watch(
        self, request: web.Request, target: Target, query: dict[str, str]
    ) -> web.StreamResponse:
        accepted = negotiate(request.headers.get("Accept", ""))
        options = WatchOptions(
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
            query.get("resourceVersion", ""),
            truthy(query, "allowWatchBookmarks"),
            truthy(query, "sendInitialEvents"),
            float(integer(query, "timeoutSeconds", 0) or DEFAULT_WATCH_SECONDS),
        )
        stream = await self._api.watch(target, options)
        stream.on_cut(lambda: abort(request))
        table = TableOptions(accepted.version, query.get("includeObject", "Metadata"))
        resource = target.resource
        with metrics.watching("watch", resource.group, resource.plural):
            async with stream as frames:
                return await stream_watch(request, target.kind, frames, accepted.form, table)

    async def _create(
        self, request: web.Request, target: Target, user: User, query: dict[str, str]
    ) -> web.Response:
        if target.name and not target.subresource:
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )
        validation = FieldValidation(query.get("fieldValidation", ""))
        options = write_options(query, "CreateOptions")
        body = self._body(request, target, validation)
        data = await self._api.create(user, target, body, options)
        return json_response(data, 201, validation.warnings)

    async def _update(
        self, request: web.Request, target: Target, user: User, query: dict[str, str]
    ) -> web.Response:
        validation = FieldValidation(query.get("fieldValidation", ""))
        options = write_options(query, "UpdateOptions")
        body = self._body(request, target, validation)
        data = await self._api.update(user, target, body, options)
        return json_response(data, 200, validation.warnings)

    @staticmethod
    def _body(request: web.Request, target: Target, validation: FieldValidation) -> ObjectBody:
        async def read() -> msgspec.Struct:
            body, media = await read_body(request), request.content_type
            return await decode_object(body, media, target, validation)

        return read

    @staticmethod
    def _delete_body(request: web.Request, query: dict[str, str]) -> DeleteBody:
        async def read() -> DeleteOptions:
            return await delete_options(await read_body(request), request.content_type, query)

        return read

    async def _patch(
        self, request: web.Request, target: Target, user: User, query: dict[str, str]
    ) -> web.Response:
        patch_type = request.content_type
        if patch_type not in PATCH_TYPES:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types "
                f"include: {', '.join(PATCH_TYPES)}"
            )
        validation = FieldValidation(query.get("fieldValidation", ""))

        async def read() -> Any:
            most = most_values(patch_type, target.kind)
            patch = await parse_body(await read_body(request), patch_type, None, most)
            check_depth(patch)
            return patch

        def check(value: Any, codec: Codec) -> None:
            validation.warnings.clear()
            validation.check(value, codec, [], describe(target))

        data, created = await self._api.patch(
            user, target, patch_type, read, write_options(query, "PatchOptions"), check
        )
        return json_response(data, 201 if created else 200, validation.warnings)

    async def _delete(
        self, request: web.Request, target: Target, user: User, query: dict[str, str]
    ) -> web.Response:
        if target.subresource:
            raise MethodNotAllowed(
                "the server does not allow this method on the requested resource"
            )
        deleted = await self._api.delete(user, target, self._delete_body(request, query))
        resource = target.resource
        if not deleted.gone or target.kind.answers_deleted:
            return json_response(deleted.data)
        return plain_response(
            status_success(
                name=target.name, group=resource.group, kind=resource.plural, uid=deleted.uid
            )
        )

    async def _delete_collection(
        self, request: web.Request, target: Target, user: User, query: dict[str, str]
    ) -> web.Response:
        wanted = ListOptions(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        body = self._delete_body(request, query)
        listed = await self._api.delete_collection(user, target, wanted, body)
        return json_response(list_body(target.resource, listed))


def write_options(query: dict[str, str], kind: str) -> WriteOptions:
    """What the query asks of a write. `kind` names the options in an error. Raises Invalid."""
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise unsupported(kind, "dryRun", dry_run, ("All",))
    return WriteOptions(dry_run == "All", query.get("fieldManager", ""), truthy(query, "force"))
