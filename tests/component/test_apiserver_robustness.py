"""Outages of the store and of api-servers, and several api-servers at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kube.api.core import ConfigMap, Service, ServicePort, ServiceSpec
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery import errors
from tests.component.apiserver_harness import STORES, ApiServer, Cluster, cluster
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki


@pytest.fixture(scope="module", params=STORES)
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pki: Pki
) -> Iterator[Cluster]:
    with cluster(request.param, tmp_path_factory.mktemp(request.param), pki) as running:
        # Another address, so that both are endpoints of the service `kubernetes`.
        running.add_server("b", "127.0.0.2")
        yield running


def connect(lab: Cluster, *servers: ApiServer) -> Client:
    admin = lab.kubeconfig(lab.server, "kubernetes-admin", "kubeadm:cluster-admins")
    return Client.connect([server.grpc_address for server in servers], kubeconfig=admin)


def config_map(name: str, **labels: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default", labels=labels))


async def test_each_server_sees_what_the_other_writes_at_once(lab: Cluster) -> None:
    first, second = lab.servers
    async with connect(lab, first) as one, connect(lab, second) as two:
        for index in range(20):
            await one.create(config_map(f"mirror-{index}", mirror="yes"))
            found = await two.list(ConfigMap, "default", label_selector="mirror=yes")
            assert len(found.items) == index + 1


async def test_two_servers_never_give_one_address_twice(lab: Cluster) -> None:
    def service(name: str) -> Service:
        return Service(
            metadata=ObjectMeta(name=name, namespace="default"),
            spec=ServiceSpec(type="NodePort", ports=(ServicePort(port=80),)),
        )

    first, second = lab.servers
    async with connect(lab, first) as one, connect(lab, second) as two:
        made = await asyncio.gather(
            *(one.create(service(f"one-{i}")) for i in range(20)),
            *(two.create(service(f"two-{i}")) for i in range(20)),
        )
        addresses = {svc.spec.cluster_ip for svc in made}
        ports = {svc.spec.ports[0].node_port for svc in made}
        assert len(addresses) == len(ports) == 40
        for svc in made:
            await two.delete(Service, svc.metadata.name, "default")
        taken = made[0].spec.cluster_ip
        again = service("again")
        again = Service(
            metadata=again.metadata,
            spec=ServiceSpec(cluster_ip=taken, ports=(ServicePort(port=80),)),
        )
        assert (await one.create(again)).spec.cluster_ip == taken


async def test_concurrent_writers_lose_no_update(lab: Cluster) -> None:
    first, second = lab.servers
    async with connect(lab, first) as one, connect(lab, second) as two:
        await one.create(config_map("counted"))

        async def add(client: Client, key: str) -> None:
            await client.patch(ConfigMap, "counted", {"data": {key: "1"}}, "default")

        await asyncio.gather(
            *(add(one, f"a{i}") for i in range(15)), *(add(two, f"b{i}") for i in range(15))
        )
        assert len((await one.get(ConfigMap, "counted", "default")).data) == 30


async def test_watches_survive_an_outage_of_the_store(lab: Cluster) -> None:
    first, _ = lab.servers
    names: list[str] = []
    async with connect(lab, first) as client:
        start = (await client.list(ConfigMap, "default")).resource_version

        async def follow() -> None:
            events = client.watch(
                ConfigMap, "default", resource_version=start, label_selector="outage=yes"
            )
            async for event in events:
                if event.type == "ADDED":
                    names.append(event.object.metadata.name)
                if len(names) == 2:
                    return

        watching = asyncio.create_task(follow())
        await client.create(config_map("before", outage="yes"))
        lab.store.kill()

        def missed() -> bool:
            ready = lab.kubectl("get", "--raw", "/readyz", check=False)
            return "etcd" in ready.stderr + ready.stdout

        await asyncio.to_thread(wait_until, missed, 60, "the store is missed")
        assert (await asyncio.to_thread(lab.kubectl, "get", "--raw", "/livez")).stdout == "ok"
        # A write during the outage is answered once the store is back, or refused clearly.
        during = asyncio.create_task(client.create(config_map("after", outage="yes")))
        await asyncio.to_thread(lab.store.start)
        try:
            await during
        except errors.StatusError as error:
            assert error.http_code in (503, 504)
            with suppress(errors.AlreadyExists):  # it was done, and only the answer was lost
                await client.create(config_map("after", outage="yes"))
        async with asyncio.timeout(60):
            await watching
    assert names == ["before", "after"]
    await asyncio.to_thread(
        wait_until,
        lambda: lab.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok",
        60,
        "ready again",
    )


async def test_a_stopped_server_leaves_the_kubernetes_service(lab: Cluster) -> None:
    def addresses() -> list[str]:
        subsets = lab.get("endpoints", "kubernetes")["subsets"]
        return [address["ip"] for address in subsets[0]["addresses"]]

    _, second = lab.servers
    await asyncio.to_thread(
        wait_until, lambda: addresses() == ["127.0.0.1", "127.0.0.2"], 60, "both endpoints"
    )
    assert await asyncio.to_thread(second.stop) == 0
    assert await asyncio.to_thread(addresses) == ["127.0.0.1"]
    second.start()
    await asyncio.to_thread(
        wait_until, lambda: addresses() == ["127.0.0.1", "127.0.0.2"], 60, "back again"
    )


async def test_a_killed_server_is_taken_out_when_its_lease_ends(lab: Cluster) -> None:
    def addresses() -> list[str]:
        subsets = lab.get("endpoints", "kubernetes")["subsets"]
        return [address["ip"] for address in subsets[0]["addresses"]]

    _, second = lab.servers
    assert second.process is not None
    second.process.send_signal(signal.SIGKILL)
    second.process.wait()
    await asyncio.to_thread(
        wait_until, lambda: addresses() == ["127.0.0.1"], 60, "the dead one is out"
    )
    second.start()
    await asyncio.to_thread(wait_until, lambda: lab.ready(second), 60, "back")


async def test_clients_go_on_when_their_server_dies(lab: Cluster) -> None:
    first, second = lab.servers
    async with connect(lab, second, first) as client:
        await client.create(config_map("failover-1"))
        assert second.process is not None
        second.process.kill()
        second.process.wait()
        assert (await client.get(ConfigMap, "failover-1", "default")).metadata.uid
        await client.create(config_map("failover-2"))
        second.start()
