"""The Service that a drill asks, and the pods behind it.

A drill brings the example workload along when the lab does not run the one it names, and
takes it away again at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from drills.errors import NothingRan
from drills.faults.base import Workload
from kube.api.apps import Deployment
from kube.api.core import Node, Pod, Service
from kube.client.client import Client
from kube.machinery import selectors
from kube.machinery.errors import NotFound, ServiceUnavailable
from kube.machinery.scheme import decode_any


@asynccontextmanager
async def workload(client: Client, key: str) -> AsyncIterator[Workload]:
    """The workload `namespace/name`; brought along, and removed afterwards, if it is missing."""
    namespace, _, name = key.rpartition("/")
    namespace = namespace or "default"
    try:
        service = await client.get(Service, name, namespace)
        brought = False
    except ServiceUnavailable as error:
        raise NothingRan(
            f"the lab's API does not answer: {error}", "see `muster status`, `muster start`"
        ) from error
    except NotFound:
        service = await _bring(client, namespace, name)
        brought = True
    try:
        yield _workload(service)
    finally:
        if brought:
            await _take_away(client, namespace, name)


def _workload(service: Service) -> Workload:
    ports = [port.node_port for port in service.spec.ports if port.node_port]
    key = f"{service.metadata.namespace}/{service.metadata.name}"
    if not ports:
        raise NothingRan(
            f'service "{key}" has no NodePort to send requests to',
            "give it `type: NodePort`, or name another with --service",
        )
    if not service.spec.selector:
        raise NothingRan(f'service "{key}" selects no pods', "name another with --service")
    return Workload(
        service.metadata.namespace, service.metadata.name, ports[0], dict(service.spec.selector)
    )


def example() -> list[dict[str, Any]]:
    """The objects of the example workload that ships with the drills."""
    text = files("drills").joinpath("workload.yaml").read_text()
    return list(yaml.safe_load_all(text))


async def _bring(client: Client, namespace: str, name: str) -> Service:
    if (namespace, name) != ("default", "hello"):
        raise NothingRan(
            f'service "{namespace}/{name}" not found', "name an existing one with --service"
        )
    service: Service | None = None
    for document in example():
        document["metadata"].setdefault("namespace", namespace)
        created = await client.create(decode_any(msgspec.json.encode(document)))
        if isinstance(created, Service):
            service = created
    assert service is not None
    return service


async def _take_away(client: Client, namespace: str, name: str) -> None:
    for type_ in (Deployment, Service):
        try:
            await client.delete(type_, name, namespace)
        except NotFound:
            continue


async def pods_by_node(client: Client, found: Workload) -> dict[str, list[Pod]]:
    """The live pods of the workload, by the node they are on."""
    text = selectors.format_labels(found.selector)
    listing = await client.list(Pod, found.namespace, text)
    by_node: dict[str, list[Pod]] = {}
    for pod in listing.items:
        if pod.spec.node_name and not pod.metadata.deletion_timestamp:
            by_node.setdefault(pod.spec.node_name, []).append(pod)
    return by_node


async def wait_until_steady(
    client: Client, found: Workload, timeout: float, say: Callable[[str], None]
) -> None:
    """All nodes Ready and all pods of the workload Ready. Raises NothingRan with what is not."""
    why = told = "nothing was seen"
    try:
        async with asyncio.timeout(timeout):
            while why:
                why = await _unsteady(client, found)
                if why and why != told:
                    say(f"waiting up to {timeout:g} s: {why}")
                    told = why
                if why:
                    await asyncio.sleep(0.2)
    except TimeoutError:
        raise NothingRan(
            f"the lab is not in a steady state: {why}",
            "see `kubectl get nodes,pods -A`; `muster drill heal` undoes an earlier drill",
        ) from None


async def _unsteady(client: Client, found: Workload) -> str:
    nodes = await client.list(Node)
    for node in nodes.items:
        if not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
            return f'node "{node.metadata.name}" is not Ready'
    by_node = await pods_by_node(client, found)
    pods = [pod for group in by_node.values() for pod in group]
    if not pods:
        return f'service "{found.namespace}/{found.service}" has no pods'
    for pod in pods:
        if not any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions):
            return f'pod "{pod.metadata.name}" is not Ready'
    return ""
