"""An api-server dies or freezes, nobody leads for a while: the controllers make up for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.api.apps import Deployment
from kube.api.coordination import Lease
from kube.api.core import Endpoints
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from master.controllers.services.endpoints import LEADER
from tests.component.control_harness import ControlPlane, agents, control_plane, until, web
from tests.component.pki_fixture import Pki

LEASES = ("kube-controller-manager", "kube-scheduler")


@pytest.fixture
def plane(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("failover")
    with control_plane(directory, pki, ("first", "second")) as plane:
        plane.start_controllers()
        plane.start_scheduler()
        yield plane


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_work_goes_on_when_an_api_server_dies_or_freezes(
    plane: ControlPlane, how: signal.Signals
) -> None:
    survivor = Client.connect(plane.servers[1:], plane.kubeconfig)
    async with survivor as client, agents(client, "w1", "w2"):
        await client.create(web(2))
        await until(lambda: available(client, 2), "two available")
        transitions = await leadership(client)
        plane.kill("first", how)
        await client.patch(Deployment, "web", {"spec": {"replicas": 6}}, "default")
        await until(lambda: available(client, 6), "six available by the other server")
        # Nobody lost the lead over it, nobody had to be started again.
        assert await leadership(client) == transitions
        for name in ("controllers", "scheduler"):
            assert plane.processes[name].poll() is None


async def test_endpoints_go_whose_service_went_before_anybody_led(tmp_path: Path, pki: Pki) -> None:
    with control_plane(tmp_path, pki) as plane:
        async with plane.client() as client:
            for name, annotations in (("outside", {}), ("elected", {LEADER: "{}"})):
                meta = ObjectMeta(name=name, namespace="default", annotations=annotations)
                await client.create(Endpoints(metadata=meta))
            plane.start_controllers()

            async def left() -> bool:
                found = (await client.list(Endpoints, "default")).items
                return {e.metadata.name for e in found} == {"elected", "kubernetes"}

            await until(left, "Endpoints without a service go, but not who leads")


async def available(client: Client, count: int) -> bool:
    status = (await client.get(Deployment, "web", "default")).status
    return status.available_replicas == status.replicas == count


async def leadership(client: Client) -> list[tuple[str, int | None]]:
    found = [await client.get(Lease, name, "kube-system") for name in LEASES]
    return [(one.spec.holder_identity, one.spec.lease_transitions) for one in found]
