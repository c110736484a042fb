"""The kubelet's HTTPS server: logs, exec, attach, pods, stats, metrics, health.

Mutual TLS: only clients of the cluster's CA get a connection; what each may do there is for
`authorization`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from kube.api import core
from kube.component.access import Access
from kube.component.metrics import Check
from kube.component.webapp import add_routes, health_response
from kube.component.webhandler import be_patient
from kube.machinery.scheme import encode
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.logs import LogOptions
from worker.kubelet.cri.records import ContainerRecord, State
from worker.kubelet.cri.runtime import RuntimeFailure
from worker.kubelet.metrics import PROBES_REGISTRY
from worker.kubelet.node import machine
from worker.kubelet.pod.podset import PodSet
from worker.kubelet.pod.podworker import PodWorker
from worker.kubelet.server.authorization import authorization
from worker.kubelet.server.cadvisor import MachineUse, PodRow, Snapshot, families
from worker.kubelet.server.kernelstats import ContainerCounters, KernelStats
from worker.kubelet.server.resourcemetrics import resource_families
from worker.kubelet.server.streams import bridge
from worker.kubelet.server.summary import summary
from worker.kubelet.tools import Tools


class Server:
    def __init__(self, tools: Tools, pods: PodSet, checks: Mapping[str, Check]) -> None:
        self._tools, self._pods, self._checks = tools, pods, checks
        self._kernel = KernelStats()

    def app(self, access: Access | None) -> web.Application:
        """Without `access`, which only plaintext on loopback is, everybody may do everything."""
        guards = [authorization(self._tools.node.name, access)] if access else []
        app = web.Application(middlewares=guards)
        add_routes(app, self._checks)
        router = app.router
        router.add_get("/metrics/cadvisor", self._cadvisor)
        router.add_get("/metrics/probes", self._probes)
        router.add_get("/metrics/resource", self._resource)
        router.add_get("/stats/summary", self._summary)
        router.add_get("/pods", self._list_pods)
        router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for method in ("GET", "POST"):
            router.add_route(method, "/exec/{namespace}/{pod}/{container}", self._exec)
            router.add_route(method, "/attach/{namespace}/{pod}/{container}", self._attach)
        return app

    def health_app(self) -> web.Application:
        """What 127.0.0.1:10248 answers: health, without TLS."""
        app = web.Application()

        async def health(request: web.Request) -> web.Response:
            return health_response(self._checks, verbose="verbose" in request.query)

        app.router.add_get("/healthz", health)
        return app

    # -- finding

    def _worker(self, request: web.Request) -> PodWorker:
        namespace, pod = request.match_info["namespace"], request.match_info["pod"]
        worker = self._pods.find(namespace, pod)
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{namespace}/{pod}" not found\n')
        return worker

    def _running(self, request: web.Request) -> ContainerRecord:
        worker, name = self._worker(request), request.match_info["container"]
        record = worker.record.latest(name)
        if record is None:
            raise web.HTTPNotFound(text=f"container not found ({name!r})\n")
        if record.state is not State.RUNNING:
            raise web.HTTPBadRequest(
                text=f"cannot exec into a container in a completed pod; container {name} is "
                f"{record.state}\n"
            )
        return record

    # -- logs

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            options = LogOptions.parse(dict(request.query), time.time())
        except ValueError as error:
            raise web.HTTPUnprocessableEntity(text=f"{error}\n") from error
        worker, name = self._worker(request), request.match_info["container"]
        record = self._log_record(worker, name, options)

        def is_running() -> bool:
            newest = next((c for c in worker.record.containers if c.id == record.id), None)
            return not worker.task.done() and newest is not None and newest.alive

        files = self._tools.files
        try:
            log = await files.open_log(Path(record.log_path))
        except OSError as error:
            text = f"failed to open log file {record.log_path}: {error.strerror}\n"
            raise web.HTTPNotFound(text=text) from error
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            be_patient(request)
            await response.prepare(request)
            async for piece in files.read_log(log, Path(record.log_path), options, is_running):
                await response.write(piece)
            await response.write_eof()
        finally:
            os.close(log)
        return response

    def _log_record(self, worker: PodWorker, name: str, options: LogOptions) -> ContainerRecord:
        pod = worker.pod
        every = (*pod.spec.containers, *pod.spec.init_containers)
        if not any(c.name == name for c in every):
            text = f"container {name} is not valid for pod {pod.metadata.name}\n"
            raise web.HTTPBadRequest(text=text)
        history = list(worker.record.history(name))
        if options.previous:
            last = _last_terminated(pod.status, name)
            history = [c for c in history if c.uri == last and c.state is State.EXITED]
            if not history:
                text = f'previous terminated container "{name}" in pod "{pod.metadata.name}" '
                raise web.HTTPBadRequest(text=f"{text}not found\n")
        history = [c for c in history if c.state is not State.CREATED]
        if not history:
            raise web.HTTPBadRequest(
                text=f'container "{name}" in pod "{pod.metadata.name}" is waiting to start: '
                f"{_waiting_reason(pod.status, name)}\n"
            )
        return history[0]

    # -- streams

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        record, query = self._running(request), request.query
        wanted = cri.ExecRequest(
            container_id=record.id,
            cmd=query.getall("command", []),
            tty=_flag(query, "tty"),
            stdin=_flag(query, "input", "stdin"),
            stdout=_flag(query, "output", "stdout"),
            # A terminal has one stream; asking for both is an error of the CRI.
            stderr=_flag(query, "error", "stderr") and not _flag(query, "tty"),
        )
        if not wanted.cmd:
            raise web.HTTPBadRequest(text="you must specify at least 1 command\n")
        return await self._stream(request, self._tools.runtime.exec_url(wanted))

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        record, query = self._running(request), request.query
        wanted = cri.AttachRequest(
            container_id=record.id,
            tty=_flag(query, "tty"),
            stdin=_flag(query, "input", "stdin"),
            stdout=_flag(query, "output", "stdout"),
            stderr=_flag(query, "error", "stderr") and not _flag(query, "tty"),
        )
        return await self._stream(request, self._tools.runtime.attach_url(wanted))

    async def _stream(self, request: web.Request, url: Awaitable[str]) -> web.StreamResponse:
        try:
            target = await url
        except RuntimeFailure as error:
            raise web.HTTPInternalServerError(text=f"{error.details}\n") from error
        return await bridge(request, self._tools.session, target)

    # -- lists and numbers

    async def _list_pods(self, _: web.Request) -> web.Response:
        items = [msgspec.Raw(encode(worker.pod)) for worker in self._pods.workers()]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def _snapshot(self) -> Snapshot:
        runtime = self._tools.runtime
        containers, sandboxes = await runtime.container_stats(), await runtime.sandbox_stats()
        images: dict[str, str] = {}
        counters: dict[str, ContainerCounters] = {}
        pods = []
        for worker in self._pods.workers():
            alive = [record for record in worker.record.containers if record.alive]
            for record in alive:
                images[record.id] = record.image
                counters[record.id] = self._kernel.container(worker.cgroup, record.id)
            pods.append(self._pod_row(worker, [record.id for record in alive]))
        use = MachineUse(machine.cpu_used_seconds(), machine.memory_used())
        return Snapshot(containers, sandboxes, images, counters, pods, use)

    def _pod_row(self, worker: PodWorker, alive: list[str]) -> PodRow:
        pod, sandbox = worker.pod, worker.record.sandbox
        shared = bool(pod.spec.host_network)  # the machine's interfaces are not the pod's
        return PodRow(
            pod.metadata.namespace,
            pod.metadata.name,
            pod.metadata.uid,
            sandbox.id if sandbox else "",
            [] if shared else self._kernel.interfaces(worker.cgroup, alive),
        )

    async def _cadvisor(self, _: web.Request) -> web.Response:
        return _page(families(await self._snapshot()))

    async def _resource(self, _: web.Request) -> web.Response:
        return _page(resource_families(await self._snapshot()))

    async def _probes(self, _: web.Request) -> web.Response:
        return _text(PROBES_REGISTRY)

    async def _summary(self, _: web.Request) -> web.Response:
        document = summary(self._tools.node.name, await self._snapshot(), time.time())
        return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _page(made: Iterable[Metric]) -> web.Response:
    registry = CollectorRegistry()
    registry.register(_Once(list(made)))
    return _text(registry)


def _text(registry: CollectorRegistry) -> web.Response:
    return web.Response(
        body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )


class _Once(Collector):
    """Families that were made before: a collector cannot wait for the runtime."""

    def __init__(self, made: list[Any]) -> None:
        self._made = made

    def collect(self) -> list[Any]:
        return self._made


def _flag(query: Any, *keys: str) -> bool:
    return any(query.get(key, "").lower() in ("1", "true") for key in keys)


def _last_terminated(status: core.PodStatus, name: str) -> str:
    """The run that `lastState` is about; empty when there was none before the present one."""
    for found in (*status.init_container_statuses, *status.container_statuses):
        if found.name == name and found.last_state and found.last_state.terminated:
            return found.last_state.terminated.container_id
    return ""


def _waiting_reason(status: Any, name: str) -> str:
    for found in (*status.init_container_statuses, *status.container_statuses):
        if found.name == name and found.state and found.state.waiting:
            return str(found.state.waiting.reason)
    return "ContainerCreating"
