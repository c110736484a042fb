"""Exec and attach: joins the caller's WebSocket to the runtime's streaming server.

The frames are the same on both sides (`v5.channel.k8s.io`, KEP-4006): the first byte names
the channel (0 stdin, 1 stdout, 2 stderr, 3 status, 4 resize, 255 close). A runtime that only
speaks v4 lacks the close signal, which is then dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import aiohttp
from aiohttp import web

from kube.component.log import get_logger
from kube.component.peers import until_gone
from kube.component.webhandler import be_patient
from kube.machinery.remotecommand import CLOSE, PROTOCOLS

log = get_logger(__name__)

_MAX_MESSAGE = 4 << 20  # of one message, the runtime's bound too; kubectl sends 32 KiB


async def bridge(
    request: web.Request, session: aiohttp.ClientSession, url: str
) -> web.StreamResponse:
    """Serve the caller from the runtime's `url` until either side ends."""
    try:
        runtime = await session.ws_connect(
            url,
            protocols=PROTOCOLS,
            max_msg_size=_MAX_MESSAGE,
            autoping=True,
            timeout=_close_timeout(),
        )
    except (aiohttp.ClientError, OSError) as error:
        log.warning("runtime refused the stream", error=str(error))
        return web.Response(status=502, text=f"cannot open the runtime's stream: {error}\n")
    async with runtime:
        caller = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=_MAX_MESSAGE)
        be_patient(request)
        await caller.prepare(request)
        await _join(caller, runtime, until_gone(request.transport, caller.ping))
        await caller.close()
    return caller


def _close_timeout() -> aiohttp.ClientWSTimeout:
    return aiohttp.ClientWSTimeout(ws_close=2.0)


async def _join(
    caller: web.WebSocketResponse,
    runtime: aiohttp.ClientWebSocketResponse,
    caller_gone: Coroutine[None, None, None],
) -> None:
    """Each direction reads no more than the other side takes. So that the end of a caller is seen
    also while the container does not read, it is watched for beside (and there is no heartbeat,
    whose answer would not be read either)."""
    tasks = {
        asyncio.create_task(_to_runtime(caller, runtime), name="stream-up"),
        asyncio.create_task(_to_caller(caller, runtime), name="stream-down"),
        asyncio.create_task(caller_gone, name="stream-caller"),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _to_runtime(
    caller: web.WebSocketResponse, runtime: aiohttp.ClientWebSocketResponse
) -> None:
    knows_close = runtime.protocol == PROTOCOLS[0]
    async for message in caller:
        if message.type is aiohttp.WSMsgType.BINARY:
            if message.data[:1] == bytes([CLOSE]) and not knows_close:
                continue
            await runtime.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await runtime.send_str(message.data)


async def _to_caller(
    caller: web.WebSocketResponse, runtime: aiohttp.ClientWebSocketResponse
) -> None:
    async for message in runtime:
        if message.type is aiohttp.WSMsgType.BINARY:
            await caller.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.TEXT:
            await caller.send_str(message.data)
