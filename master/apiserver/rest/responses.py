"""HTTP answers: objects, lists and Status errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice

import msgspec
from aiohttp import web

from kube.machinery.errors import NotFound, StatusError, TooLarge, TooManyRequests, encode_status
from kube.machinery.scheme import Resource
from master.apiserver.registry.options import Listed

JSON = "application/json"
# Of one warning, and of all of an answer (upstream: 256 each, 4 KiB together, beyond it few).
_WARNING_LENGTH, _WARNING_CHARACTERS = 256, 8 * 1024
# Clients refuse answers of more than a hundred headers (Python's).
_WARNINGS = 50
# A large answer goes out in such pieces, as its client takes them. asyncio would copy what is left
# of a whole one each time that the kernel takes some.
_PIECE_BYTES = 128 << 10


def json_response(body: bytes, status: int = 200, warnings: Iterable[str] = ()) -> web.Response:
    whole = len(body) <= _PIECE_BYTES
    response = web.Response(body=body if whole else _pieces(body), status=status, content_type=JSON)
    if not whole:
        response.headers["Content-Length"] = str(len(body))
    response.headers["Cache-Control"] = "no-cache, private"
    left = _WARNING_CHARACTERS
    for warning in islice(warnings, _WARNINGS):
        text = _header_text(warning)
        left -= len(text)
        if left < 0:
            break
        response.headers.add("Warning", f'299 - "{text}"')
    return response


async def _pieces(body: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]


def _header_text(warning: str) -> str:
    """A warning names what the client sent: nothing of that may end the header."""
    shown = warning if len(warning) <= _WARNING_LENGTH else f"{warning[:_WARNING_LENGTH]}..."
    plain = "".join(c if c.isprintable() else "?" for c in shown)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def plain_response(value: object, status: int = 200) -> web.Response:
    return json_response(msgspec.json.encode(value), status)


def error_response(error: StatusError) -> web.Response:
    if isinstance(error, NotFound) and error.details is None:
        # No such path. As upstream's, not a Status: from a text client-go makes one with
        # details, and kubectl looks into them without asking (`kubectl debug`).
        return web.Response(status=404, text="404 page not found\n")
    response = json_response(encode_status(error), error.http_code)
    if isinstance(error, TooManyRequests) or error.http_code in (503, 504):
        response.headers["Retry-After"] = "1"
    if isinstance(error, TooLarge):
        # The rest of the body is still on its way; the connection cannot serve another request.
        response.force_close()
    return response


def status_success(
    *, name: str = "", group: str = "", kind: str = "", uid: str = ""
) -> Mapping[str, object]:
    """What deleting an object that is gone at once answers."""
    details = {"name": name, "group": group, "kind": kind, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def list_body(resource: Resource, listed: Listed) -> bytes:
    """A List of stored bytes, joined without decoding them."""
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    meta = list_meta(listed)
    start = msgspec.json.encode({**head, "metadata": meta})[:-1]
    return start + b',"items":[' + b",".join(listed.items) + b"]}"


def list_meta(listed: Listed) -> dict[str, object]:
    meta: dict[str, object] = {"resourceVersion": listed.resource_version}
    if listed.continue_:
        meta["continue"] = listed.continue_
    if listed.remaining is not None:
        meta["remainingItemCount"] = listed.remaining
    return meta
