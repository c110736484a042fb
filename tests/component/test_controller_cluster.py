"""Controllers and scheduler as real processes on a real api-server and stock etcd."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kube.api.apps import Deployment, ReplicaSet
from kube.api.coordination import Lease
from kube.api.core import (
    ConfigMap,
    Endpoints,
    Event,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
    ServicePort,
    ServiceSpec,
)
from kube.api.discovery import EndpointSlice
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery.errors import NotFound, StatusError
from kube.machinery.times import parse_time, utc_now
from master.controllers.nodes.node_health import UNREACHABLE
from tests.component.control_harness import (
    GRACE,
    TOLERATION,
    ControlPlane,
    agents,
    control_plane,
    until,
    web,
)
from tests.component.pki_fixture import Pki


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControlPlane]:
    directory: Path = tmp_path_factory.mktemp("control")
    with control_plane(directory, pki) as plane:
        plane.start_controllers()
        plane.start_scheduler()
        yield plane


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    """A client; what a test leaves behind is removed for the next one."""
    async with plane.client() as client:
        yield client
        for type_ in (Deployment, ReplicaSet, Service, Pod):
            for obj in (await client.list(type_, "default")).items:
                meta = obj.metadata
                if meta.name == "kubernetes":
                    continue
                try:
                    await client.delete(type_, meta.name, "default", grace_period_seconds=0)
                except NotFound:
                    continue
        for node in (await client.list(Node)).items:
            await client.delete(Node, node.metadata.name)

        async def empty() -> bool:
            return not (await client.list(Pod, "default")).items

        await until(empty, "the namespace is empty again")


async def pods_of(client: Client, app: str = "web") -> list[Pod]:
    return list((await client.list(Pod, "default", label_selector=f"app={app}")).items)


async def reasons(client: Client, kind: str) -> set[str]:
    events = (await client.list(Event, "default")).items
    return {e.reason for e in events if e.involved_object and e.involved_object.kind == kind}


async def told(client: Client, kind: str, reason: str) -> bool:
    """Events are sent beside the work that they tell of."""
    return reason in await reasons(client, kind)


async def available(client: Client, count: int) -> bool:
    status = (await client.get(Deployment, "web", "default")).status
    return status.available_replicas == status.updated_replicas == status.replicas == count


async def addresses(client: Client, ready: bool = True) -> set[str]:
    found = (await client.list(EndpointSlice, "default", "kubernetes.io/service-name=web")).items
    return {
        e.addresses[0]
        for one in found
        for e in one.endpoints
        if e.conditions and e.conditions.ready is ready
    }


async def expose(client: Client) -> None:
    port = ServicePort(name="web", port=80, target_port="http", protocol="TCP")
    spec = ServiceSpec(selector={"app": "web"}, ports=(port,))
    await client.create(Service(metadata=ObjectMeta(name="web", namespace="default"), spec=spec))


async def test_a_deployment_becomes_bound_pods_and_endpoints(client: Client) -> None:
    await expose(client)
    async with agents(client, "w1", "w2"):
        await until(lambda: nodes_ready(client, 2), "two nodes")
        await client.create(web(4))
        await until(lambda: available(client, 4), "four available")
        pods = await pods_of(client)
        assert sorted(pod.spec.node_name for pod in pods) == ["w1", "w1", "w2", "w2"]
        wanted = {pod.status.pod_ip for pod in pods}

        async def listed() -> bool:
            return await addresses(client) == wanted

        await until(listed, "four endpoints")

        async def old_form() -> bool:
            found = await client.get(Endpoints, "web", "default")
            return {a.ip for s in found.subsets for a in s.addresses} == wanted

        await until(old_form, "the endpoints object")

        async def complete() -> bool:
            deployment = await client.get(Deployment, "web", "default")
            states = {c.type: (c.status, c.reason) for c in deployment.status.conditions}
            return states == {
                "Available": ("True", "MinimumReplicasAvailable"),
                "Progressing": ("True", "NewReplicaSetAvailable"),
            }

        await until(complete, "the conditions of a complete deployment")
        await until(lambda: told(client, "Deployment", "ScalingReplicaSet"), "its event")
        await until(lambda: told(client, "ReplicaSet", "SuccessfulCreate"), "its event")
        await until(lambda: told(client, "Pod", "Scheduled"), "its event")
        events = (await client.list(Event, "default")).items
        assert {(e.involved_object.kind, e.source.component) for e in events} >= {
            ("Deployment", "deployment-controller"),
            ("ReplicaSet", "replicaset-controller"),
            ("Pod", "default-scheduler"),
        }


async def test_endpoints_written_by_hand_go_with_their_service(client: Client) -> None:
    meta = ObjectMeta(name="outside", namespace="default")
    spec = ServiceSpec(ports=(ServicePort(port=80, protocol="TCP"),))
    await client.create(Service(metadata=meta, spec=spec))
    await client.create(Endpoints(metadata=meta))
    await client.delete(Service, "outside", "default")

    async def gone() -> bool:
        names = [e.metadata.name for e in (await client.list(Endpoints, "default")).items]
        return "outside" not in names

    await until(gone, "the endpoints follow the service")


async def nodes_ready(client: Client, count: int) -> bool:
    return len((await client.list(Node)).items) == count


async def test_a_rolling_update_and_its_undo_by_stock_kubectl(
    plane: ControlPlane, client: Client
) -> None:
    async with agents(client, "w1", "w2"):
        await client.create(web(4))
        await until(lambda: available(client, 4), "four available")
        kubectl = asyncio.to_thread
        await kubectl(plane.kubectl, "set", "image", "deployment/web", "c=web:2")
        done = await kubectl(plane.kubectl, "rollout", "status", "deployment/web", "--timeout=100s")
        assert "successfully rolled out" in done.stdout
        images = {pod.spec.containers[0].image for pod in await live_pods(client)}
        assert images == {"web:2"}
        await kubectl(plane.kubectl, "rollout", "undo", "deployment/web")
        await kubectl(plane.kubectl, "rollout", "status", "deployment/web", "--timeout=100s")
        images = {pod.spec.containers[0].image for pod in await live_pods(client)}
        assert images == {"web:1"}
        history = await kubectl(plane.kubectl, "rollout", "history", "deployment/web")
        assert [line.split()[0] for line in history.stdout.splitlines()[2:] if line] == ["2", "3"]


async def live_pods(client: Client) -> list[Pod]:
    return [pod for pod in await pods_of(client) if not pod.metadata.deletion_timestamp]


async def test_a_silent_node_is_tainted_its_pods_withdrawn_evicted_and_replaced(
    client: Client,
) -> None:
    await expose(client)
    async with agents(client, "w1", "w2", "w3") as nodes:
        await client.create(web(3))
        await until(lambda: available(client, 3), "three available")
        doomed = {p.metadata.name: p.status.pod_ip for p in await pods_of(client)
                  if p.spec.node_name == "w3"}  # fmt: skip
        assert doomed
        await until(lambda: addresses(client), "endpoints")
        nodes["w3"].alive = False

        async def tainted() -> bool:
            node = await client.get(Node, "w3")
            effects = {taint.effect for taint in node.spec.taints if taint.key == UNREACHABLE}
            return effects == {"NoSchedule", "NoExecute"}

        await until(tainted, "taints on w3")
        lease = await client.get(Lease, "w3", "kube-node-lease")
        renewed = parse_time(lease.spec.renew_time or "")
        assert renewed is not None and utc_now() - renewed >= timedelta(seconds=GRACE)

        async def withdrawn() -> bool:
            return not set(doomed.values()) & await addresses(client)

        await until(withdrawn, "endpoints of w3 withdrawn")

        async def replaced() -> bool:
            pods = [pod for pod in await live_pods(client) if pod.spec.node_name in ("w1", "w2")]
            return len(pods) == 3

        await until(replaced, "replacements bound")
        evicted = await client.get(Pod, next(iter(doomed)), "default")
        assert evicted.metadata.deletion_timestamp
        assert "DisruptionTarget" in {c.type for c in evicted.status.conditions}
        await until(lambda: told(client, "Pod", "TaintManagerEviction"), "the event")

        nodes["w3"].alive = True

        async def recovered() -> bool:
            node = await client.get(Node, "w3")
            return not node.spec.taints and not any(
                pod.metadata.deletion_timestamp for pod in await pods_of(client)
            )

        await until(recovered, "w3 is back, its old pods are gone")


async def test_when_every_node_falls_silent_nobody_is_evicted(client: Client) -> None:
    async with agents(client, "w1", "w2") as nodes:
        await client.create(web(2))
        await until(lambda: available(client, 2), "two available")
        for agent in nodes.values():
            agent.alive = False

        async def unknown() -> bool:
            found = (await client.list(Node)).items
            return all(c.status == "Unknown" for n in found for c in n.status.conditions)

        await until(unknown, "both nodes Unknown")

        async def spared() -> bool:
            found = (await client.list(Node)).items
            taints = [t for n in found for t in n.spec.taints]
            return {t.effect for t in taints} == {"NoSchedule"}

        await until(spared, "NoExecute taken back")
        await asyncio.sleep(TOLERATION + 1.0)  # what an eviction would have needed
        assert not [p for p in await pods_of(client) if p.metadata.deletion_timestamp]


async def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_it_can_be(
    plane: ControlPlane, client: Client
) -> None:
    async with agents(client, "w1"):
        await until(lambda: nodes_ready(client, 1), "one node")
        await asyncio.to_thread(plane.kubectl, "cordon", "w1")
        await client.create(web(1))

        async def refused() -> Pod | None:
            for pod in await pods_of(client):
                for condition in pod.status.conditions:
                    if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                        return pod
            return None

        pod = await until(refused, "the PodScheduled condition")
        assert pod is not None
        message = next(c.message for c in pod.status.conditions if c.type == "PodScheduled")
        assert message.startswith("0/1 nodes are available: 1 node(s) were unschedulable.")
        await until(lambda: told(client, "Pod", "FailedScheduling"), "the event")
        described = await asyncio.to_thread(plane.kubectl, "describe", "pod", pod.metadata.name)
        assert "FailedScheduling" in described.stdout
        await asyncio.to_thread(plane.kubectl, "uncordon", "w1")
        await until(lambda: available(client, 1), "placed after uncordon")


@pytest.mark.parametrize(("policy", "survive"), [("background", False), ("foreground", False),
                                                ("orphan", True)])  # fmt: skip
async def test_dependents_go_with_their_owner_or_stay_as_asked(
    plane: ControlPlane, client: Client, policy: str, survive: bool
) -> None:
    async with agents(client, "w1"):
        await client.create(web(2))
        await until(lambda: available(client, 2), "two available")
        await asyncio.to_thread(plane.kubectl, "delete", "deployment", "web", f"--cascade={policy}")

        async def settled() -> bool:
            sets = (await client.list(ReplicaSet, "default")).items
            pods = await pods_of(client)
            if survive:
                return len(sets) == 1 and not sets[0].metadata.owner_references and len(pods) == 2
            return not sets and not pods

        await until(settled, f"{policy} deletion is complete")
        with pytest.raises(NotFound):
            await client.get(Deployment, "web", "default")


async def test_a_namespace_is_furnished_and_emptied(plane: ControlPlane, client: Client) -> None:
    await asyncio.to_thread(plane.kubectl, "create", "namespace", "team")

    async def furnished() -> bool:
        try:
            await client.get(ServiceAccount, "default", "team")
            found = await client.get(ConfigMap, "kube-root-ca.crt", "team")
        except NotFound:
            return False
        return "BEGIN CERTIFICATE" in found.data["ca.crt"]

    await until(furnished, "default account and root CA")
    meta = ObjectMeta(name="held", namespace="team", finalizers=("example.com/hold",))
    await client.create(ConfigMap(metadata=meta))
    await client.delete(Namespace, "team")

    async def reported() -> bool:
        namespace = await client.get(Namespace, "team")
        return any(
            c.type == "NamespaceFinalizersRemaining" and "example.com/hold" in c.message
            for c in namespace.status.conditions
        )

    await until(reported, "the namespace says what holds it")
    await client.patch(ConfigMap, "held", {"metadata": {"finalizers": []}}, "team")

    async def gone() -> bool:
        try:
            await client.get(Namespace, "team")
        except NotFound:
            return True
        return False

    await until(gone, "the namespace is gone")


async def test_nodes_get_their_own_subnets(client: Client) -> None:
    async with agents(client, "w1", "w2", "w3"):

        async def given() -> list[str]:
            cidrs = [n.spec.pod_cidr for n in (await client.list(Node)).items]
            return cidrs if len(cidrs) == 3 and all(cidrs) else []

        assert sorted(await until(given, "podCIDRs")) == [
            "10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24",
        ]  # fmt: skip


async def test_the_standby_takes_over_and_a_stalled_leader_steps_down(
    plane: ControlPlane, client: Client
) -> None:
    plane.start_controllers("standby")
    async with agents(client, "w1"):
        await until(lambda: nodes_ready(client, 1), "one node")
        leader = plane.processes["controllers"]
        leader.send_signal(signal.SIGSTOP)
        await client.create(web(1))
        await until(lambda: available(client, 1), "the standby does the work", 60)
        # Back from its stall it must notice that it lost the lease, and end for systemd.
        leader.send_signal(signal.SIGCONT)

        async def ended() -> bool:
            return leader.poll() is not None

        await until(ended, "the old leader ended", 60)
        assert leader.returncode == 1
        log = (plane.directory / "controllers.log").read_text()
        assert "LeaseLost" in log


async def test_the_ports_are_closed_to_strangers(plane: ControlPlane) -> None:
    """mTLS on the metrics port: a client of another CA is refused, ours is served."""
    import aiohttp

    from kube.component.tls import client_context

    port = int((plane.directory / "scheduler.port").read_text())
    url = f"https://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as session:
        ours = client_context(plane.pki.issue("prometheus", organizations=("system:monitoring",)))
        async with session.get(url, ssl=ours) as answer:
            text = await answer.text()
        for name in (
            "scheduler_pod_scheduling_sli_duration_seconds_bucket",
            "scheduler_scheduling_algorithm_duration_seconds_bucket",
            "scheduler_scheduling_attempt_duration_seconds_bucket",
            'rest_client_requests_total{code="201",host=',
            "rest_client_request_duration_seconds_bucket{host=",
            'leader_election_master_status{name="kube-scheduler"} 1.0',
        ):
            assert name in text, name
        with pytest.raises(aiohttp.ClientError):
            async with session.get(url):
                pass


async def test_nobody_else_may_act_as_the_scheduler(plane: ControlPlane, client: Client) -> None:
    stranger = plane.identity("stranger")
    async with Client.connect(plane.servers, stranger) as other:
        with pytest.raises(StatusError) as caught:
            await other.list(Pod, "default")
    assert caught.value.reason == "Forbidden"
