"""Watch streams over HTTP: one JSON object a line, objects as stored or as one-row tables."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from kube.component.webhandler import drained
from master.apiserver.cache.window import BOOKMARK
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.registry.reader import IDLE, Frame
from master.apiserver.rest.negotiate import Form
from master.apiserver.rest.tables.render import TableOptions, render_object, render_table

PIECE_BYTES = 16 << 10


async def stream_watch(
    request: web.Request,
    kind: AnyKind,
    frames: AsyncIterator[Frame],
    form: Form,
    options: TableOptions,
) -> web.StreamResponse:
    """Write the frames until the watch ends or the client has gone."""
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
    )
    response.enable_chunked_encoding()
    # Headers go out at once: a client may wait for them before it acts.
    await response.prepare(request)
    first = True
    try:
        async for frame in frames:
            if client_has_gone(request):
                break
            if frame is IDLE:
                continue
            data = frame.data
            if frame.type != "ERROR" and form == "table":
                # Only the first table names its columns, as upstream's do.
                rows = [] if frame.type == BOOKMARK else [data]
                data = render_table(kind, rows, options, {}, with_columns=first)
                first = False
            elif frame.type != "ERROR" and form == "metadata":
                data = render_object(data, options.version)
            await _write(request, response, frame.type.encode(), data)
        await response.write_eof()
    except ConnectionResetError:
        pass  # the client went while we wrote
    return response


async def _write(
    request: web.Request, response: web.StreamResponse, type_: bytes, data: bytes
) -> None:
    """A large object in pieces of the one copy that all watches share: of what a client does not
    read, no more than a piece is held for it."""
    if len(data) <= PIECE_BYTES:
        await response.write(b'{"type":"%s","object":%s}\n' % (type_, data))
        await drained(request)
        return
    await response.write(b'{"type":"%s","object":' % type_)
    view = memoryview(data)
    for at in range(0, len(data), PIECE_BYTES):
        await response.write(view[at : at + PIECE_BYTES])
        await drained(request)
    await response.write(b"}\n")


def client_has_gone(request: web.Request) -> bool:
    """aiohttp lets a handler run on after its client has closed; it has to look."""
    return request.transport is None or request.transport.is_closing()
