"""One place where every gRPC call is counted, timed, and where our errors become status codes.

A unary call runs in its own task: when the client gives up (deadline, cancel), what it began is
still brought to its end, so that a container is never left between two states.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from prometheus_client import Counter, Histogram

from muster.component.log import get_logger
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

Handler = Callable[[Any, Any], Awaitable[Any]]


class OperationInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def drain(self, seconds: float) -> None:
        """Wait for what is still being done for clients that left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        operation = snake(handler_call_details.method.rpartition("/")[2])
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(operation, handler.unary_unary),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_stream_rpc_method_handler(
            _stream(operation, handler.unary_stream),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, operation: str, inner: Handler) -> Handler:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
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
                await _abort(operation, error, context)
            finally:
                DURATION.labels(operation).observe(time.perf_counter() - started)

        return call


def _stream(operation: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        OPERATIONS.labels(operation).inc()
        try:
            async for response in inner(request, context):
                yield response
        except RuntimeFailure as error:
            ERRORS.labels(operation).inc()
            await context.abort(error.code, str(error))

    return call


async def _abort(
    operation: str, error: Exception, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    if isinstance(error, RuntimeFailure):
        log.info("call failed", operation=operation, code=error.code.name, error=str(error))
        await context.abort(error.code, str(error))
    if isinstance(error, OSError):
        # The kernel's own words (a full disk, a missing right) are what the caller can act on.
        log.error("call failed", operation=operation, error=str(error))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = grpc.StatusCode.RESOURCE_EXHAUSTED if full else grpc.StatusCode.INTERNAL
        await context.abort(code, f"{operation}: {error}")
    log.exception("call failed unexpectedly", operation=operation)
    await context.abort(grpc.StatusCode.INTERNAL, f"{operation}: {error!r}")


def _log_orphan(operation: str, task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("call failed after its client left", operation=operation, error=str(error))


def snake(name: str) -> str:
    """`RunPodSandbox` to `run_pod_sandbox`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
