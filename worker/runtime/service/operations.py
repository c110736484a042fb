"""One place where every gRPC call is counted, timed, and where our errors become status codes.

A unary call runs in its own task: when the client gives up (deadline, cancel), what it began is
still brought to its end, so that a container is never left between two states.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from prometheus_client import Counter, Histogram

from kube.component.log import get_logger
from kube.rpc.errors import Code, RpcError
from kube.rpc.service import CallContext, Method, Shape, snake_case
from worker.runtime.errors import RuntimeFailure

log = get_logger(__name__)

OPERATIONS = Counter("muster_runtime_operations", "CRI calls by operation.", ["operation_type"])
ERRORS = Counter("muster_runtime_operations_errors", "CRI calls that failed.", ["operation_type"])
DURATION = Histogram(
    "muster_runtime_operations_duration_seconds",
    "Time of CRI calls by operation.",
    ["operation_type"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

Handler = Callable[[Any, CallContext], Awaitable[Any]]


class Operations:
    """Wraps the services' methods; remembers what is being done for clients that may have left."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def drain(self, seconds: float) -> None:
        """Wait for what is still being done for clients that left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    def watched(self, methods: Iterable[Method]) -> Iterator[Method]:
        for method in methods:
            operation = snake_case(method.name)
            wrap = self._unary if method.shape is Shape.UNARY else _stream
            yield replace(method, handler=wrap(operation, method.handler))

    def _unary(self, operation: str, inner: Handler) -> Handler:
        async def call(request: Any, context: CallContext) -> Any:
            started = time.perf_counter()
            OPERATIONS.labels(operation).inc()
            task = asyncio.ensure_future(inner(request, context))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                task.add_done_callback(lambda t: _log_orphan(operation, t))
                raise
            except Exception as error:
                ERRORS.labels(operation).inc()
                raise _failure(operation, error) from error
            finally:
                DURATION.labels(operation).observe(time.perf_counter() - started)

        return call


def _stream(operation: str, inner: Callable[[Any, CallContext], Any]) -> Callable[..., Any]:
    async def call(request: Any, context: CallContext) -> AsyncIterator[Any]:
        OPERATIONS.labels(operation).inc()
        responses = inner(request, context)
        try:
            async for response in responses:
                yield response
        except RuntimeFailure as error:
            ERRORS.labels(operation).inc()
            raise RpcError(str(error), error.code) from error
        finally:
            await responses.aclose()

    return call


def _failure(operation: str, error: Exception) -> RpcError:
    if isinstance(error, RuntimeFailure):
        log.info("call failed", operation=operation, code=error.code.name, error=str(error))
        return RpcError(str(error), error.code)
    if isinstance(error, OSError):
        # The kernel's own words (a full disk, a missing right) are what the caller can act on.
        log.error("call failed", operation=operation, error=str(error))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = Code.RESOURCE_EXHAUSTED if full else Code.INTERNAL
        return RpcError(f"{operation}: {error}", code)
    log.exception("call failed unexpectedly", operation=operation)
    return RpcError(f"{operation}: {error!r}", Code.INTERNAL)


def _log_orphan(operation: str, task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("call failed after its client left", operation=operation, error=str(error))
