"""Runs the handlers of probes and lifecycle hooks: exec, HTTP, TCP, gRPC, sleep."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass

import aiohttp

from kube.api import core
from kube.component.version import MAJOR, MINOR
from kube.machinery.ports import named_port
from kube.rpc.dial import open_channel
from kube.rpc.errors import Code, RpcError
from worker.kubelet.cri.runtime import Runtime, RuntimeFailure
from worker.kubelet.pod.probes import Outcome

_BODY_BYTES = 10 * 1024
# grpc.health.v1: HealthCheckRequest{service=1}, HealthCheckResponse{status=1: SERVING=1}
_HEALTH_METHOD = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"


@dataclass(frozen=True, slots=True)
class Target:
    """The container that a handler is about."""

    container_id: str
    pod_ip: str
    container: core.Container


def resolve_port(port: int | str | None, container: core.Container) -> int:
    """A number, or the name of one of the container's ports."""
    if isinstance(port, int):
        return port
    number = named_port((container,), port) if port else None
    if number is not None:
        return number
    if isinstance(port, str) and port.isdigit():
        return int(port)
    raise ValueError(f'container has no port named "{port}"')


async def run_exec(
    runtime: Runtime, target: Target, action: core.ExecAction, timeout: float
) -> Outcome:
    try:
        response = await runtime.exec_sync(target.container_id, action.command, timeout)
    except RuntimeFailure as error:
        if error.code is Code.DEADLINE_EXCEEDED:
            return Outcome(False, f"command timed out after {timeout:g}s")
        return Outcome(False, error.details)
    output = (response.stdout + response.stderr)[:_BODY_BYTES].decode(errors="replace").strip()
    return Outcome(response.exit_code == 0, output)


async def run_http(
    session: aiohttp.ClientSession, target: Target, action: core.HTTPGetAction, timeout: float
) -> Outcome:
    """2xx and 3xx are well; certificates are not verified, as upstream."""
    try:
        port = resolve_port(action.port, target.container)
    except ValueError as error:
        return Outcome(False, str(error))
    scheme, host = (action.scheme or "HTTP").lower(), action.host or target.pod_ip
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    url = f"{scheme}://{host}:{port}{path}"
    headers = {h.name: h.value for h in action.http_headers}
    try:
        async with session.get(
            url,
            headers={"User-Agent": f"kube-probe/{MAJOR}.{MINOR}", "Connection": "close"} | headers,
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,
            ssl=False,
        ) as response:
            body = (await response.content.read(_BODY_BYTES)).decode(errors="replace")
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(False, f'Get "{url}": {why}')
    except aiohttp.ClientConnectorError as error:
        return Outcome(False, f'Get "{url}": {_dial_error(host, port, error.os_error)}')
    except (aiohttp.ClientError, OSError, ValueError, ssl.SSLError) as error:
        return Outcome(False, f'Get "{url}": {str(error) or type(error).__name__}')
    if 200 <= response.status < 400:
        return Outcome(True, body)
    return Outcome(False, f"HTTP probe failed with statuscode: {response.status}")


async def run_tcp(target: Target, action: core.TCPSocketAction, timeout: float) -> Outcome:
    try:
        port = resolve_port(action.port, target.container)
    except ValueError as error:
        return Outcome(False, str(error))
    host = action.host or target.pod_ip
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except TimeoutError:
        return Outcome(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Outcome(False, _dial_error(host, port, error))
    return Outcome(True)


def _dial_error(host: str, port: int, error: OSError) -> str:
    """As Go's net package words it, which is what people look for."""
    why = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"dial tcp {host}:{port}: connect: {why}"


async def run_grpc(target: Target, action: core.GRPCAction, timeout: float) -> Outcome:
    """The standard health protocol; its two messages are small enough to write by hand."""
    service = action.service.encode()
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    channel = open_channel(f"{target.pod_ip}:{action.port}")
    try:
        response = await channel.unary_unary(_HEALTH_METHOD, bytes, bytes)(request, timeout=timeout)
    except RpcError as error:
        return Outcome(False, error.message or error.code.name)
    finally:
        await channel.close()
    ok = response == _SERVING
    return Outcome(ok, "" if ok else "service unhealthy")


async def run_probe(
    runtime: Runtime,
    session: aiohttp.ClientSession,
    target: Target,
    probe: core.Probe,
    timeout: float,
) -> Outcome:
    if probe.exec_:
        return await run_exec(runtime, target, probe.exec_, timeout)
    if probe.http_get:
        return await run_http(session, target, probe.http_get, timeout)
    if probe.tcp_socket:
        return await run_tcp(target, probe.tcp_socket, timeout)
    if probe.grpc:
        return await run_grpc(target, probe.grpc, timeout)
    return Outcome(False, "missing probe handler")


async def run_hook(
    runtime: Runtime,
    session: aiohttp.ClientSession,
    target: Target,
    hook: core.LifecycleHandler,
    timeout: float,
) -> Outcome:
    """A postStart or preStop hook."""
    if hook.exec_:
        return await run_exec(runtime, target, hook.exec_, timeout)
    if hook.http_get:
        return await run_http(session, target, hook.http_get, timeout)
    if hook.tcp_socket:
        return await run_tcp(target, hook.tcp_socket, timeout)
    if hook.sleep:
        await asyncio.sleep(min(float(hook.sleep.seconds or 0), timeout))
        return Outcome(True)
    return Outcome(False, "missing lifecycle handler")
