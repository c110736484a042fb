"""A flood of work, however large, never takes the lead from the controller-manager."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kube.api.apps import PodTemplateSpec, ReplicaSet, ReplicaSetSpec
from kube.api.coordination import Lease
from kube.api.core import Container, Pod, PodSpec
from kube.api.meta import LabelSelector, ObjectMeta
from kube.client.client import Client
from tests.component.control_harness import ControlPlane, control_plane, until
from tests.component.pki_fixture import Pki

NAME = "kube-controller-manager"
# The fast profile's timers, with which the lead was lost again and again.
FAST = (
    "--leader-elect-lease-duration", "3", "--leader-elect-renew-deadline", "2",
    "--leader-elect-retry-period", "0.5",
)  # fmt: skip
MOST = 2**31 - 1
# Each of the five workers has one that never has enough.
FLOODS = tuple(f"flood{n}" for n in range(5))
PODS = 1200
RENEWALS = 3


@pytest.fixture
def plane(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("flood"), pki, ("only",)) as plane:
        plane.start_controllers("controllers", *FAST)
        yield plane


def endless(name: str) -> ReplicaSet:
    labels = {"app": name}
    return ReplicaSet(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=ReplicaSetSpec(
            replicas=MOST,
            selector=LabelSelector(match_labels=labels),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels),
                spec=PodSpec(containers=(Container(name="c", image="busybox:1"),)),
            ),
        ),
    )


async def test_the_lead_is_kept_with_a_thousand_pods_of_work(plane: ControlPlane) -> None:
    async with Client.connect(plane.servers, plane.kubeconfig) as client:

        async def leads() -> Lease | None:
            found = await client.list(Lease, "kube-system")
            return next((one for one in found.items if one.metadata.name == NAME), None)

        before = await until(leads, "somebody leads")
        for name in FLOODS:
            await client.create(endless(name))
        stamps = {before.spec.renew_time}

        async def enough() -> bool:
            lease = await leads()
            assert lease is not None
            stamps.add(lease.spec.renew_time)
            if len(stamps) <= RENEWALS:  # the flood goes on meanwhile: it has no end
                return False
            return len((await client.list(Pod, "default", limit=PODS)).items) >= PODS

        await until(enough, f"{RENEWALS} renewals and {PODS} pods")
        assert plane.processes["controllers"].poll() is None
        after = await until(leads, "somebody leads")
        assert after.spec.holder_identity == before.spec.holder_identity
        assert after.spec.lease_transitions == before.spec.lease_transitions
        await shrinks(client)


async def shrinks(client: Client) -> None:
    """Work that was asked for in between is done: the flood ends when its cause does."""
    for name in FLOODS:
        await client.patch(ReplicaSet, name, {"spec": {"replicas": 0}}, "default")

    async def done() -> bool:
        found = [await client.get(ReplicaSet, name, "default") for name in FLOODS]
        return all(one.status.observed_generation == one.metadata.generation for one in found)

    await until(done, "the change is observed", 60)
