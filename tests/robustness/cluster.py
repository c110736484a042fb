"""A cluster of members that can be hurt and healed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from kube.rpc.errors import Code, RpcError
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.robustness.disk import SmallDisk, Throttle
from tests.robustness.members import CLIENT_PORT, PEER_PORT, Member
from tests.robustness.network import Network, address_of, relay_address_of, slot_of
from tests.robustness.programs import Program
from tests.robustness.relay import CLIENTS, Pair, Quality, Relays, Route

_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 1.0
SLOTS = 6  # five members and one that replaces


class NotInTime(Exception):
    """What had to happen did not, within its bound."""


async def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until it, or what it awaits, is true; returns its value."""
    deadline = monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if monotonic() > deadline:
            raise NotInTime(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(_POLL_SECONDS)


class Cluster:
    """`members` are those in the cluster now; `everybody` has also been. `relayed`: whatever they
    and their clients say to each other goes through relays of the harness."""

    def __init__(
        self,
        count: int,
        directory: Path,
        network: Network,
        program: Program,
        rng: random.Random,
        *,
        relayed: bool = False,
    ) -> None:
        self.program = program
        self.network = network
        self.directory = directory
        self.rng = rng
        self.relayed = relayed
        self.relays = Relays(rng)
        self.members = [self._make(slot) for slot in range(1, count + 1)]
        self.everybody = list(self.members)
        self.log: list[str] = []
        self._began = monotonic()
        self._disks: dict[Member, SmallDisk] = {}
        self._throttles: list[Throttle] = []
        self._cut_off: set[Member] = set()

    def _make(self, slot: int) -> Member:
        return Member(slot, self.directory, self.network, self.program, relayed=self.relayed)

    def note(self, text: str) -> None:
        self.log.append(f"{monotonic() - self._began:.3f} ({monotonic():.3f}) {text}")

    # --- life

    async def start(self, failpoints: dict[Member, str]) -> None:
        if self.relayed:
            await self._relay()
        founders = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.belongs_to(founders)
            member.start(failpoints.get(member, ""))
        await self.wait_serving(90)
        for member in self.members:
            if not member.alive and member not in failpoints:
                raise NotInTime(f"{member.name} ended while it was started")

    async def _relay(self) -> None:
        for slot in range(1, SLOTS + 1):
            for port in (CLIENT_PORT, PEER_PORT):
                route = Route(slot, (address_of(slot), port), _origin)
                await self.relays.listen(relay_address_of(slot), port, route)

    async def wait_serving(self, seconds: float, members: Iterable[Member] = ()) -> None:
        """Every one of them answers a linearizable read. Who died meanwhile does not count."""
        for member in members or list(self.members):
            serves = partial(self._serves_or_died, member)
            await wait_for(serves, seconds, f"{member.name} to serve")
            if not member.id and member.alive and (status := await self.status(member)):
                member.id = status.header.member_id

    async def _serves_or_died(self, member: Member) -> bool:
        return not member.alive or await self.serves(member)

    async def serves(self, member: Member) -> bool:
        stub: Any = rpc_pb2_grpc.KVStub(member.channel)
        try:
            await stub.Range(rpc_pb2.RangeRequest(key=b"r/0"), timeout=_ANSWER_SECONDS)
        except RpcError as error:
            if error.code is Code.DEADLINE_EXCEEDED:
                await member.reconnect()
            return False
        return True

    async def status(self, member: Member) -> rpc_pb2.StatusResponse | None:
        stub: Any = rpc_pb2_grpc.MaintenanceStub(member.channel)
        try:
            response = await stub.Status(rpc_pb2.StatusRequest(), timeout=_ANSWER_SECONDS)
        except RpcError:
            return None
        assert isinstance(response, rpc_pb2.StatusResponse)
        return response

    async def leader(self) -> Member:
        async def find() -> Member | None:
            claims = []
            for member in self.members:
                if not member.alive or member.paused:
                    continue
                status = await self.status(member)
                if status is not None and status.leader == status.header.member_id:
                    claims.append((status.raftTerm, member))
            return max(claims, key=lambda claim: claim[0])[1] if claims else None

        found: Member = await wait_for(find, 60, "a leader")
        return found

    async def died(self, member: Member, seconds: float, why: str) -> None:
        await wait_for(lambda: not member.alive, seconds, f"{member.name} to end by {why}")
        self.note(f"{member.name} ended by {why}")

    def kill(self, member: Member) -> None:
        self.note(f"kill -9 {member.name}")
        member.kill()

    def kill_all(self) -> None:
        """At one moment, as far as one process can."""
        self.note("kill -9 all")
        for member in self.members:
            if member.process is not None:
                member.process.kill()
        for member in self.members:
            member.kill()

    def start_again(self, member: Member, failpoint: str = "") -> None:
        self.note(f"start {member.name} {failpoint}")
        member.start(failpoint)

    def lose_unsynced(self, member: Member) -> None:
        if self.program.ours:
            self.note(f"{member.name} loses {member.lose_unsynced(self.rng)}")

    def pick(self, count: int = 1) -> list[Member]:
        return self.rng.sample(self.members, count)

    # --- the network

    def cut(self, near: Iterable[Member], far: Iterable[Member], how: str = "both") -> None:
        """`near` no longer hear `far` (how "in"), are no longer heard ("out"), or both."""
        others = [member.slot for member in far]
        for member in near:
            self.note(f"{member.name} cut off from {others}, {how}")
            self._cut_off.add(member)
            self.network.drop(
                member.slot,
                senders=others if how in ("in", "both") else (),
                receivers=others if how in ("out", "both") else (),
            )

    def unplug(self, member: Member) -> None:
        self.note(f"unplug {member.name}")
        self._cut_off.add(member)
        self.network.unplug(member.slot)

    def reconnect_all(self) -> None:
        for member in self._cut_off:
            self.note(f"{member.name} connected again")
            self.network.plug_in(member.slot)
            self.network.pass_all(member.slot)
        self._cut_off.clear()

    # --- its quality, where there are relays

    def lines(self, among: Iterable[Member] | None = None) -> list[Pair]:
        """All ways between members of which one is of these; both directions."""
        chosen = set(self.members if among is None else among)
        return [
            (a.slot, b.slot)
            for a in self.members
            for b in self.members
            if a is not b and (a in chosen or b in chosen)
        ]

    def client_lines(self, members: Iterable[Member]) -> list[Pair]:
        return [pair for m in members for pair in ((CLIENTS, m.slot), (m.slot, CLIENTS))]

    def become(self, quality: Quality, pairs: Iterable[Pair]) -> None:
        pairs = list(pairs)
        self.note(f"lines {pairs} have {quality}")
        self.relays.become(quality, pairs)

    # --- disks

    def give_small_disk(self, member: Member) -> None:
        """Before the member is started first."""
        disk = SmallDisk(member.data_dir.parent, self.program.disk_bytes)
        self._disks[member] = disk

    def fill_disk(self, member: Member) -> None:
        self.note(f"disk of {member.name} full")
        self._disks[member].fill()

    def free_disk(self, member: Member) -> None:
        self.note(f"disk of {member.name} has space again")
        self._disks[member].free()

    def slow_disk(self, member: Member, writes_per_second: int) -> None:
        assert member.process is not None
        self.note(f"disk of {member.name} slow: {writes_per_second} writes a second")
        name = f"{self.network.namespace(member.slot)}"
        throttle = Throttle(name, self.directory)
        self._throttles.append(throttle)
        throttle.slow(member.process.pid, writes_per_second)

    def unthrottle(self) -> None:
        while self._throttles:
            self._throttles.pop().remove()

    # --- membership

    async def remove(self, member: Member) -> None:
        self.note(f"remove {member.name}")
        self.members.remove(member)
        request = rpc_pb2.MemberRemoveRequest(ID=member.id)

        async def gone() -> bool:
            try:
                await self._cluster_call("MemberRemove", request, self.members)
            except RpcError as error:
                return error.code is Code.NOT_FOUND  # an earlier attempt did it
            return True

        await wait_for(gone, 60, f"{member.name} to be removed")

    async def _cluster_call(self, name: str, request: Any, members: Iterable[Member]) -> Any:
        """By the first of them that can; the last one's error."""
        failure: RpcError | None = None
        for member in members:
            if member.alive and not member.paused:
                try:
                    stub = rpc_pb2_grpc.ClusterStub(member.channel)
                    return await getattr(stub, name)(request, timeout=2 * _ANSWER_SECONDS)
                except RpcError as error:
                    failure = error
                    if error.code is Code.NOT_FOUND:
                        break
        raise failure or RpcError("nobody to ask", Code.UNAVAILABLE)

    async def add(self, failpoint: str = "") -> Member:
        """A new member, as a learner. The caller promotes it."""
        slot = next(s for s in range(1, SLOTS + 1) if s not in {m.slot for m in self.everybody})
        new = self._make(slot)
        self.note(f"add {new.name}")
        request = rpc_pb2.MemberAddRequest(peerURLs=[new.peer_url], isLearner=True)

        async def added() -> bool:
            try:
                answer = await self._cluster_call("MemberAdd", request, self.members)
            except RpcError as error:
                self.note(f"add: {error.message}")
                if "exist" not in error.message.lower():
                    return False
                listed = await self._cluster_call(
                    "MemberList", rpc_pb2.MemberListRequest(), self.members
                )
                new.id = next(m.ID for m in listed.members if new.peer_url in m.peerURLs)
                return True
            new.id = answer.member.ID
            return True

        await wait_for(added, 60, f"{new.name} to be added")
        names = ",".join(f"{m.name}={m.peer_url}" for m in [*self.members, new])
        new.belongs_to(names, "existing")
        self.everybody.append(new)
        new.start(failpoint)
        return new

    async def promote(self, member: Member) -> None:
        self.note(f"promote {member.name}")
        request = rpc_pb2.MemberPromoteRequest(ID=member.id)

        async def promoted() -> bool:
            try:
                await self._cluster_call("MemberPromote", request, self.members)
            except RpcError as error:
                self.note(f"promote: {error.message}")
                return error.message.endswith("can only promote a learner member")
            return True

        await wait_for(promoted, 60, f"{member.name} to be promoted")
        self.members.append(member)

    async def move_leader(self, to: Member) -> None:
        leader = await self.leader()
        if leader is to or not to.id:
            return
        self.note(f"move leadership from {leader.name} to {to.name}")
        stub: Any = rpc_pb2_grpc.MaintenanceStub(leader.channel)
        try:
            await stub.MoveLeader(rpc_pb2.MoveLeaderRequest(targetID=to.id), timeout=2)
        except RpcError as error:
            self.note(f"not moved: {error.message}")

    async def defragment(self, member: Member) -> None:
        self.note(f"defragment {member.name}")
        stub: Any = rpc_pb2_grpc.MaintenanceStub(member.channel)
        try:
            await stub.Defragment(rpc_pb2.DefragmentRequest(), timeout=5)
        except RpcError as error:
            self.note(f"not defragmented: {error.message}")

    # --- the end

    async def heal(self) -> None:
        """Whatever was done to anybody is over, and everybody serves."""
        self.reconnect_all()
        self.relays.heal()
        self.unthrottle()
        for disk in self._disks.values():
            disk.free()
        for member in self.members:
            member.resume()
            if not member.alive:
                self.start_again(member)
            await member.reconnect()
        await self.wait_serving(90)
        await self._disarm()

    async def _disarm(self) -> None:
        """A disk that was full may have left an alarm, which refuses writes for ever."""
        if self._disks:
            everything = rpc_pb2.AlarmRequest(
                action=rpc_pb2.AlarmRequest.DEACTIVATE, alarm=rpc_pb2.NOSPACE
            )
            for member in self.members:
                stub: Any = rpc_pb2_grpc.MaintenanceStub(member.channel)
                everything.memberID = member.id
                try:
                    await stub.Alarm(everything, timeout=2)
                except RpcError as error:
                    self.note(f"alarm of {member.name}: {error.message}")

    async def close(self) -> None:
        self.reconnect_all()
        for member in self.everybody:
            member.kill()
            await member.reconnect()
        await self.relays.close()
        self.unthrottle()
        for disk in self._disks.values():
            disk.remove()


def _origin(address: str) -> tuple[int, str | None]:
    """A member that dials another one through a relay is seen to come from its own relay."""
    slot = slot_of(address)
    return (slot, relay_address_of(slot)) if slot else (CLIENTS, None)
