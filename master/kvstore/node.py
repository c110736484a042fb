"""One member of the cluster: its parts put together, and what the services ask of it.

The parts are in `driver/`; what they do for each other meets here and nowhere else. Nothing here
knows gRPC.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic

from kube.component.log import get_logger
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.auth.store import AuthStore
from master.kvstore.auth.tokens import Tokens
from master.kvstore.barrier import ReadBarrier, Waiter
from master.kvstore.driver.applying import Applier
from master.kvstore.driver.clock import Timing, tick_forever
from master.kvstore.driver.contacts import Contacts
from master.kvstore.driver.disk import Disk
from master.kvstore.driver.following import MEMBERSHIP, Followers
from master.kvstore.driver.inbox import Inbox
from master.kvstore.driver.leadership import Leadership
from master.kvstore.driver.leases import Leases
from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.driver.limits import Limits
from master.kvstore.driver.outbox import Outbox
from master.kvstore.driver.pump import Pump
from master.kvstore.driver.replica import Replica
from master.kvstore.driver.requests import PeerRequests
from master.kvstore.driver.snapshots import Snapshots
from master.kvstore.driver.sweep import Sweeper
from master.kvstore.errors import NoLeader, NoSpace, Stopped
from master.kvstore.machine import Applied, Machine
from master.kvstore.mvcc.records import field, varint
from master.kvstore.proposals import Outcome, Proposals
from master.kvstore.raft.core import Core
from master.kvstore.raft.messages import NOBODY, SnapshotMeta
from master.kvstore.transport.peer import PeerClient
from master.kvstore.wal.log import Identity
from master.kvstore.wal.snapshot import SnapshotDirectory
from master.kvstore.wal.writer import DiskWriter

log = get_logger(__name__)


class Node:
    def __init__(
        self,
        identity: Identity,
        core: Core,
        machine: Machine,
        snapshots: SnapshotDirectory,
        timing: Timing,
        limits: Limits,
        tokens: Tokens,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.identity = identity
        self.id = identity.member_id
        # The constant part of every answer's header: cluster_id and member_id.
        self._who = b"\x08%b\x10%b" % (varint(identity.cluster_id), varint(self.id))
        self.core = core
        self.timing = timing
        self._request_seconds = timing.request_seconds
        self.limits = limits
        self.trusts_certificates = False  # whether a client's certificate says who it is
        self._last_progress = monotonic()

        self._proposals = Proposals(self.id)
        self.barrier = ReadBarrier(self._ask_read_index)
        self.life = Lifecycle(on_fatal, (self._proposals, self.barrier))
        self._replica = Replica(machine, core.log.applied, self.header)
        self.hub = self._replica.hub
        self.disk = Disk(snapshots)
        self.contacts = Contacts(identity, self._replica, self.life, timing.election_ticks)
        self.leadership = Leadership(
            core, self.contacts, timing.election_seconds, self._leader_changed
        )
        self.leases = Leases(core, self._replica, self.leadership, timing, self.read_barrier)
        self.requests = PeerRequests(identity, core, self._replica, self.leadership, self.leases)
        self.snapshots = Snapshots(core, self._replica, snapshots, self.disk, self.life, limits)
        self.sweeper = Sweeper(self._replica, self.life)
        self.tokens = tokens
        followers = Followers(
            core, self._replica, self.leases, self.tokens, self.contacts, self.sweeper
        )
        self._applier = Applier(
            core, self._replica, self._proposals, self.barrier, self.snapshots, followers.follow
        )
        self._pump = Pump(
            core,
            self.life,
            self._proposals,
            self.barrier,
            Outbox(core, self.contacts, snapshots, self.life, self._schedule_pump),
            self.disk,
            self._applier,
            self._after_pump,
        )
        self.inbox = Inbox(
            core,
            snapshots,
            self.disk,
            install=self._install,
            pump=self._pump.run,
            schedule_pump=self._pump.schedule,
        )

    # --- what the services see

    @property
    def machine(self) -> Machine:
        return self._replica.machine

    @property
    def applied(self) -> int:
        return self._replica.applied

    @property
    def applied_kinds(self) -> Counter[str]:
        return self._applier.kinds

    @property
    def commit(self) -> int:
        return self.core.log.commit

    @property
    def has_leader(self) -> bool:
        return self.leadership.known

    @property
    def is_leader(self) -> bool:
        return self.leadership.mine

    @property
    def is_learner(self) -> bool:
        member = self.machine.members.all.get(self.id)
        return member is not None and member.isLearner

    @property
    def pending(self) -> int:
        return len(self._proposals)

    @property
    def proposals_failed(self) -> int:
        return self._proposals.failed

    @property
    def members(self) -> list[rpc_pb2.Member]:
        return self.machine.members.listed()

    @property
    def auth(self) -> AuthStore:
        return self.machine.auth

    @property
    def peers(self) -> dict[int, PeerClient]:
        return self.contacts.clients

    def require_leader(self) -> None:
        if not self.has_leader:
            raise NoLeader

    def header(self, revision: int) -> bytes:
        """The header of an answer, encoded: field 1 of every response."""
        if self.life.failed:
            raise Stopped
        rest = b"\x18%b\x20%b" % (varint(revision), varint(self.core.term))
        return field(b"\x0a", self._who + rest)

    def fill(self, header: rpc_pb2.ResponseHeader) -> None:
        """Say who answers, and at which revision unless the answer already says that."""
        if self.life.failed:
            raise Stopped
        header.cluster_id = self.identity.cluster_id
        header.member_id = self.id
        header.raft_term = self.core.term
        if not header.revision:
            header.revision = self.machine.mvcc.revision

    # --- proposals

    async def propose(self, command: command_pb2.Command) -> Applied:
        """Have `command` agreed on and applied here. Raises the error that it was refused with.

        An Unavailable error leaves open whether it will be applied.
        """
        applied = await self._submit(command)
        if applied.error is not None:
            raise applied.error
        return applied

    def propose_encoded(self, command: bytes, outcome: Outcome) -> None:
        """The same for an encoded command, without waiting: `outcome` hears of it."""
        self._proposals.add_encoded(command, self._deadline(), outcome)
        self._pump.schedule()

    def _submit(self, command: command_pb2.Command) -> asyncio.Future[Applied]:
        membership = command.WhichOneof("request") in MEMBERSHIP
        outcome = self._proposals.add(command, self._deadline(), membership=membership)
        self._pump.schedule()
        return outcome

    def _deadline(self) -> float:
        if self.life.stopping:
            raise Stopped
        return monotonic() + self._request_seconds

    def check_space(self, growth: int) -> None:
        """Refuse what would not fit, before it takes a place in the log."""
        if self.disk.full:
            raise NoSpace
        machine = self._replica.machine
        if 0 <= self.limits.quota_bytes < machine.mvcc.total_bytes + growth:
            if not machine.out_of_space:
                self._raise_alarm()
            raise NoSpace

    def _raise_alarm(self) -> None:
        alarm = rpc_pb2.AlarmRequest(
            action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=self.id, alarm=rpc_pb2.NOSPACE
        )
        outcome = self._submit(command_pb2.Command(alarm=alarm))
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        log.warning("quota exceeded", bytes=self.machine.mvcc.total_bytes)

    # --- linearizable reads

    async def read_barrier(self) -> None:
        """Return once a read of the local state is linearizable."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pass_barrier(waiter)
        await waiter

    def pass_barrier(self, waiter: Waiter) -> None:
        """The same without waiting: `waiter` hears of it."""
        if self.life.stopping:
            raise Stopped
        now = monotonic()
        self.barrier.wait(waiter, now, now + self._request_seconds)

    def _ask_read_index(self, context: bytes) -> None:
        self.core.read_index(context)
        self._pump.schedule()

    # --- where the parts meet

    def _schedule_pump(self) -> None:
        self._pump.schedule()

    def _after_pump(self) -> None:
        self.contacts.follow_if_changed()
        self.leadership.notice()

    def _leader_changed(self, now: float) -> None:
        self.leases.leader_changed(now)
        self.barrier.tick(now, leader_changed=True)
        self._pump.schedule()

    def _install(self, meta: SnapshotMeta, machine: Machine) -> None:
        """The state that came with a snapshot takes the place of ours."""
        self._replica.replace(machine, meta.index)
        self.barrier.applied(meta.index)
        self.contacts.follow()
        log.info("snapshot installed", index=meta.index, revision=machine.mvcc.revision)

    # --- running

    def start(self, writer: DiskWriter) -> None:
        self.disk.begin(writer)
        self.life.spawn(tick_forever(self.timing, self.tick), "raft-tick")
        self._pump.schedule()  # what the log says is committed can be applied now

    def tick(self) -> None:
        now = monotonic()
        self.core.reached(self.contacts.connected())
        self.core.tick()
        self._proposals.expire(now)
        self.barrier.tick(now, leader_changed=False)
        self.leases.tick(now)
        if now - self._last_progress >= self.limits.progress_seconds:
            self._last_progress = now
            self.hub.notify_progress()
        if self.disk.full and self.is_leader:
            self.core.transfer_leadership(self.leadership.best_heir())
        self.leadership.tell_leaderless(now)
        self._pump.run()
        self.contacts.leave_if_removed()

    def transfer_leadership(self, to: int) -> bool:
        started = self.core.transfer_leadership(to)
        self._pump.schedule()
        return started

    async def stop(self) -> None:
        """Hand leadership on if somebody can take it, then let go of everything."""
        if self.is_leader and self.peers and not self.life.failed:
            await self._hand_over(self.leadership.best_heir())
        await self.life.stop()
        self.disk.stop()

    async def _hand_over(self, heir: int) -> None:
        if heir == NOBODY:
            return
        self.transfer_leadership(heir)
        for _ in range(self.timing.election_ticks):
            if not self.is_leader:
                break
            await asyncio.sleep(self.timing.tick_seconds)
