"""Whom the faults of a drill hit just now, and whether that is more than it may. Mostly pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from drills.errors import NothingRan
from drills.faults import Fault, HitPod, tag
from drills.faults.partition import Partition
from drills.lab import DrillLab, Unanswered
from drills.observers import store
from drills.spec import Guard
from drills.targets import Candidate, Target, choose
from kube.api.coordination import Lease
from kube.api.core import Node, Pod
from kube.client.client import Client
from kube.machinery.errors import NotFound

PodsByNode = Mapping[str, Sequence[Pod]]


@dataclass(frozen=True, slots=True)
class LabView:
    """What targets are chosen from."""

    lab: DrillLab
    client: Client
    candidates: tuple[Candidate, ...]

    async def leader_of(self, what: str) -> str:
        if what == "store":
            return await store.leader(self.lab)
        try:
            lease = await self.client.get(Lease, what, "kube-system")
        except NotFound:
            return ""
        # As in upstream's identities, what follows the "_" tells processes of a host apart.
        return (lease.spec.holder_identity or "").split("_")[0]


async def look(lab: DrillLab, client: Client, pods: PodsByNode) -> LabView:
    labels = {n.metadata.name: n.metadata.labels for n in (await client.list(Node)).items}
    return LabView(
        lab,
        client,
        tuple(
            Candidate(m.name, m.role, len(pods.get(m.name, ())), labels.get(m.name))
            for m in lab.spec.machines
        ),
    )


@dataclass(frozen=True, slots=True)
class Aim:
    """The victims of one fault, their pods that it hits, and the other side where it has one."""

    victims: tuple[str, ...]
    others: tuple[str, ...] = ()
    pods: tuple[HitPod, ...] = ()


async def aim(fault: Fault, view: LabView, pods: PodsByNode, chance: Random, node: str = "") -> Aim:
    """`node` replaces whatever the fault's target says."""
    victims = await choose(Target(names=(node,)) if node else fault.target, view, chance)
    rest = tuple(c.name for c in view.candidates if c.name not in victims)
    if isinstance(fault, Partition) and fault.other is not None:
        other = await choose(fault.other, view, chance)
        rest = tuple(name for name in other if name not in victims)
    there = [
        HitPod(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid, name)
        for name in victims
        for pod in pods.get(name, ())
    ]
    return Aim(victims, rest, fault.hits(there))


def check(
    guard: Guard, aims: Sequence[tuple[Fault, Aim]], view: LabView, pods: PodsByNode, service: str
) -> None:
    """Refuse what would take away more than the drill may. Raises NothingRan."""
    taken = {name for fault, at in aims if fault.takes_machines for name in at.victims}
    roles = {candidate.name: candidate.role for candidate in view.candidates}
    masters = [name for name, role in roles.items() if role == "master"]
    lost = [name for name in masters if name in taken]
    if lost and len(masters) - len(lost) < len(masters) // 2 + 1 and not guard.allow_quorum_loss:
        raise NothingRan(
            f"without {', '.join(lost)} the store would lose its quorum ({len(masters)} members)",
            "a drill that means it says `guard: {allowQuorumLoss: true}`",
        )
    _check_replicas(guard, taken, roles, pods, service)
    share = 100 * len(taken) / len(roles)
    if share > guard.max_machines_percent:
        raise NothingRan(
            f"{len(taken)} of {len(roles)} machines would be taken away, more than the drill's "
            f"{guard.max_machines_percent:g} %",
            "`guard: {maxMachinesPercent: ...}` says how many it may take",
        )


def _check_replicas(
    guard: Guard, taken: set[str], roles: Mapping[str, str], pods: PodsByNode, service: str
) -> None:
    if guard.allow_last_replica or not taken & set(pods):
        return
    if sum(role == "worker" for role in roles.values()) < 2:
        raise NothingRan(
            "a node failure needs a second worker for the pods to move to",
            "make a lab with --workers 2 or more",
        )
    if not set(pods) - taken:  # as after an earlier drill: nothing moves pods back
        raise NothingRan(
            f'all pods of "{service}" are on {", ".join(sorted(pods))}: no endpoint '
            "would be left to answer",
            "spread them first (`kubectl rollout restart`), or name the victim with --node",
        )


def check_provider(fault: Fault, lab: DrillLab) -> None:
    """Refuse what this provider cannot do. Raises NothingRan."""
    if fault.needs.fabric:
        _ = lab.fabric
    if fault.needs.disks:
        _ = lab.disks


HAS = 'command -v "$1" >/dev/null || test -e "$1"'


async def check_tools(fault: Fault, lab: DrillLab, victims: Sequence[str]) -> None:
    """Refuse where a victim lacks what the fault works with. Raises NothingRan."""
    for name in victims:
        for tool in fault.needs.tools:
            try:
                await lab.run_on(name, ["sh", "-c", HAS, "sh", tool])
            except Unanswered as error:
                raise NothingRan(
                    f"{name} has no {tool}, which {tag(fault)} works with",
                    "install it there (on the host, for local machines) and repeat",
                ) from error
