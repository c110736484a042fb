"""The state metrics' process: flags, leader election, informers, and the two ports.

Of several masters one serves the series, the one that leads: each object's series exist once, as
the recording rules that sum over them expect, and objects are kept in one process only. The others
answer with an empty page.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Counter, Gauge

from kube.client.access import delegated
from kube.client.client import Client
from kube.client.flags import ClientFlags, add_client_flags, leader_elector, stop_or_failure
from kube.client.informer import Informer
from kube.component.access import Access, guarded
from kube.component.metrics import metrics_server
from kube.component.run import notify_ready, run
from kube.http.messages import Handler, Pages, Request, Response, text
from kube.http.server import http_server
from master.statemetrics.choice import Choice, keys_by_resource, names
from master.statemetrics.series import Series

NAME = "kube-state-metrics"
PORT, TELEMETRY_PORT = 8080, 8081
# Far more than a lab has. More would fill Prometheus rather than tell anybody anything.
OBJECT_LIMIT = 20_000

LISTS = Counter("kube_state_metrics_list_total", "Lists, by result.", ["result", "resource"])
WATCHES = Counter("kube_state_metrics_watch_total", "Watches, by result.", ["result", "resource"])
Gauge("kube_state_metrics_shard_ordinal", "Which shard this is.", ["shard_ordinal"]).labels("0")
Gauge("kube_state_metrics_total_shards", "How many shards there are.").set(1)
LEFT_OUT = Gauge(
    "muster_state_metrics_objects_left_out", "Objects beyond --object-limit.", ["resource"]
)


@dataclass(frozen=True, slots=True)
class Config:
    client: ClientFlags
    choice: Choice = field(default_factory=Choice)
    telemetry_address: str = "127.0.0.1"
    telemetry_port: int = TELEMETRY_PORT
    object_limit: int = OBJECT_LIMIT

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = argparse.ArgumentParser(prog=NAME, description=__doc__, allow_abbrev=False)
        add_client_flags(parser, secure_port=PORT, listen=("--host", "--port"))
        parser.add_argument("--telemetry-host")
        parser.add_argument("--telemetry-port", type=int, default=TELEMETRY_PORT)
        parser.add_argument("--resources", type=names, default=())
        parser.add_argument("--metric-allowlist", type=names, default=())
        parser.add_argument("--metric-denylist", type=names, default=())
        parser.add_argument("--metric-labels-allowlist", type=keys_by_resource, default={})
        parser.add_argument("--metric-annotations-allowlist", type=keys_by_resource, default={})
        parser.add_argument("--object-limit", type=int, default=OBJECT_LIMIT)
        args = parser.parse_args(argv)
        if args.metric_allowlist and args.metric_denylist:
            parser.error("--metric-allowlist and --metric-denylist are mutually exclusive")
        client = ClientFlags.from_args(args)
        choice = Choice(
            args.resources,
            args.metric_allowlist,
            args.metric_denylist,
            args.metric_labels_allowlist,
            args.metric_annotations_allowlist,
        )
        try:
            choice.kinds()
        except ValueError as error:
            parser.error(str(error))
        address = args.telemetry_host or client.address
        return cls(client, choice, address, args.telemetry_port, args.object_limit)


class StateMetrics:
    """The series of every kind, while it leads."""

    def __init__(self, client: Client, choice: Choice, object_limit: int) -> None:
        self._client = client
        self._kinds = choice.kinds()
        self._limit = object_limit
        self._series: tuple[Series[Any], ...] = ()

    async def lead(self) -> None:
        """Watch until cancelled; the series go when it ends."""
        try:
            async with asyncio.TaskGroup() as tasks:
                series = []
                for kind in self._kinds:
                    watched = Series(kind, self._limit)
                    observe = _observer(kind.resource)
                    informer = Informer(self._client, kind.type, observe=observe)
                    informer.add_handler(watched.on_event)
                    tasks.create_task(informer.run(), name=f"informer {kind.resource}")
                    LEFT_OUT.labels(kind.resource).set_function(partial(_left_out, watched))
                    series.append(watched)
                self._series = tuple(series)
        finally:
            self._series = ()

    async def page(self, _: Request) -> Response:
        body = "".join(line for series in self._series for line in series.text())
        return Response(headers=(("Content-Type", CONTENT_TYPE_PLAIN_0_0_4),), body=body.encode())


def _left_out(series: Series[Any]) -> float:
    return series.left_out


def _observer(resource: str) -> Callable[[str, bool], None]:
    """Counts an informer's lists and watches; from the start there are none that failed."""
    counters = {"list": LISTS, "watch": WATCHES}
    for counter in counters.values():
        for result in ("success", "error"):
            counter.labels(result, resource)

    def observe(verb: str, well: bool) -> None:
        counters[verb].labels("success" if well else "error", resource).inc()

    return observe


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve both ports at once, watch while leading, end with an error when the lease is lost."""
    flags = config.client
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"
    async with Client.connect(flags.servers, flags.kubeconfig) as client:
        access = delegated(client.servers)
        state = StateMetrics(client, config.choice, config.object_limit)
        async with (
            http_server(
                _pages(state, access if flags.tls_files else None),
                flags.address,
                flags.secure_port,
                flags.tls(),
            ),
            metrics_server(
                config.telemetry_address, config.telemetry_port, flags.tls(), access=access
            ),
        ):
            notify_ready()
            elector = leader_elector(client, flags, NAME, identity)
            working = asyncio.create_task(
                elector.run(state.lead) if elector is not None else state.lead(), name="series"
            )
            await stop_or_failure(stop, working)


def _pages(state: StateMetrics, access: Access | None) -> Handler:
    async def well(_: Request) -> Response:
        return text("OK")

    pages = Pages({"/metrics": state.page, "/healthz": well, "/livez": well})
    return pages if access is None else guarded(pages, access)


def main(argv: Sequence[str] | None = None) -> int:
    return run(serve, Config.from_argv(argv), NAME)
