"""The driver of one member: feeds Raft's core and does what it says, in the order it says.

Owns the clock, the peers' connections, the disk writer and the state machine. The services call
`propose`, `read_barrier` and the lease methods; nothing here knows gRPC.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic

import msgspec

from master.kvstore import state
from master.kvstore.auth.store import ROOT, AuthStore
from master.kvstore.auth.tokens import Tokens
from master.kvstore.barrier import ReadBarrier, Waiter
from master.kvstore.cluster import ClusterInfo
from master.kvstore.corruption import digest
from master.kvstore.errors import (
    LearnerNotReady,
    LeaseNotFound,
    MemberRemoved,
    NoLeader,
    NoSpace,
    NotEnoughStarted,
    NotLeader,
    Stopped,
    StoreError,
)
from master.kvstore.failpoint import hit
from master.kvstore.lease.expiry import Expiry
from master.kvstore.machine import Applied, Machine
from master.kvstore.members import check_promote, membership_of
from master.kvstore.metrics import BACKEND_COMMIT, SNAPSHOT_SAVE
from master.kvstore.mvcc.records import field, varint
from master.kvstore.proposals import Outcome, Proposals
from master.kvstore.raft.core import Core, ProposalDropped, Ready, Role, Write
from master.kvstore.raft.membership import leave
from master.kvstore.raft.messages import (
    NOBODY,
    Entry,
    EntryKind,
    Message,
    MessageType,
    SnapshotMeta,
)
from master.kvstore.transport.frames import Hello
from master.kvstore.transport.peer import PeerClient
from master.kvstore.transport.peers import Peers
from master.kvstore.wal.log import Identity, MemberIdentity, Wal
from master.kvstore.wal.snapshot import Incoming, SnapshotCorrupt, SnapshotDirectory
from master.kvstore.wal.writer import DiskWriter
from master.kvstore.watch.hub import Hub
from muster.component.log import get_logger
from muster.etcd import command_pb2, rpc_pb2

log = get_logger(__name__)

_RECORDS_FOR_AN_ENTRY = 10
_MOST_ENTRIES = 100_000  # etcd 3.4's --snapshot-count
_SWEEP_RECORDS = 2000  # at once: about a millisecond
_COMMIT_SECONDS = 0.002  # a commit that nobody waits for is told with what else is sent until then
_EXPIRE_SECONDS = 0.5
_EXPIRE_AT_ONCE = 1000
_PEER_REQUEST_SECONDS = 2.0
_NO_LEADER_TIMEOUTS = 3  # after so many election timeouts streams that asked for it end


@dataclass(frozen=True, slots=True)
class Timing:
    tick_seconds: float = 0.1
    election_ticks: int = 10

    @property
    def election_seconds(self) -> float:
        return self.tick_seconds * self.election_ticks

    @property
    def request_seconds(self) -> float:
        """How long a request may take, an election included (etcd: 5 s + 2 x election)."""
        return 5.0 + 2 * self.election_seconds

    @property
    def least_lease_seconds(self) -> int:
        """A lease must outlive an election (etcd: 3/2 election timeouts, rounded up)."""
        return -int(-1.5 * self.election_seconds // 1)


@dataclass(frozen=True, slots=True)
class Limits:
    quota_bytes: int = 2 << 30  # negative: none
    snapshot_count: int = 10_000
    progress_seconds: float = 600.0  # between notifications to watchers that asked for them
    catchup_entries: int = 5000  # kept behind a snapshot, for members that lag a little
    max_txn_ops: int = 128
    max_request_bytes: int = 3 << 19  # 1.5 MiB
    bcrypt_cost: int = 10

    def entries_for(self, records: int) -> int:
        """How many entries make a new snapshot of `records` worth while: a large state less
        often, so that the share of each entry is about the same; but the log, in memory and to
        be replayed after a restart, has an end."""
        return max(self.snapshot_count, min(records // _RECORDS_FOR_AN_ENTRY, _MOST_ENTRIES))


class LeaseState(msgspec.Struct, frozen=True, array_like=True):
    """A leader's answer about a lease. `remaining` -1: no such lease."""

    granted: int
    remaining: int
    keys: list[bytes] = []


class Node:
    def __init__(
        self,
        identity: Identity,
        core: Core,
        machine: Machine,
        snapshots: SnapshotDirectory,
        timing: Timing,
        limits: Limits,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.identity = identity
        self.id = identity.member_id
        # The constant part of every answer's header: cluster_id and member_id.
        self._who = b"\x08%b\x10%b" % (varint(identity.cluster_id), varint(self.id))
        self.core = core
        self.machine = machine
        self.hub = Hub(machine.mvcc, self.header)
        self.timing = timing
        self._request_seconds = timing.request_seconds
        self.tokens = Tokens()
        self.trusts_certificates = False  # whether a client's certificate says who it is
        self._peers: Peers | None = None
        self._heard_of: dict[int, str] = {}  # members that dialled in before the log told of them
        self.barrier = ReadBarrier(self._ask_read_index)
        self.leader_changes = 0
        self.applied_kinds: Counter[str] = Counter(
            {"put": 0, "delete_range": 0, "txn": 0, "compaction": 0}
        )
        self.applied = core.log.applied
        self._limits = limits
        self._snapshots = snapshots
        self._on_fatal = on_fatal
        self._proposals = Proposals(self.id)
        self._expiry = Expiry()
        self._writer: DiskWriter | None = None
        self._pumping = False
        self._pump_scheduled = False
        self._telling = False
        self._leader = NOBODY
        self._leader_lost_at: float | None = monotonic()
        self._applied_term = 0
        self._snapshotting = False
        self._sweeping = False
        self._on_swept: list[asyncio.Future[None]] = []
        self._received: dict[int, Path] = {}  # installed snapshots that the log does not know yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_leaderless: set[Callable[[], None]] = set()
        self._last_expiry = 0.0
        self._last_progress = monotonic()
        self._removed_ticks = 0
        self._members_moved = False
        self._stopping = False
        self._failed = False

    # --- what the services see

    @property
    def has_leader(self) -> bool:
        return self.core.leader != NOBODY

    @property
    def is_leader(self) -> bool:
        return self.core.role is Role.LEADER

    @property
    def pending(self) -> int:
        return len(self._proposals)

    @property
    def proposals_failed(self) -> int:
        return self._proposals.failed

    @property
    def commit(self) -> int:
        return self.core.log.commit

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def members(self) -> list[rpc_pb2.Member]:
        return self.machine.members.listed()

    @property
    def auth(self) -> AuthStore:
        return self.machine.auth

    @property
    def is_learner(self) -> bool:
        member = self.machine.members.all.get(self.id)
        return member is not None and member.isLearner

    @property
    def peers(self) -> dict[int, PeerClient]:
        return self._peers.clients if self._peers else {}

    def connected(self) -> set[int]:
        """The members that can be reached now, this one included."""
        return {self.id, *(peer for peer, client in self.peers.items() if client.connected)}

    def header(self, revision: int) -> bytes:
        """The header of an answer, encoded: field 1 of every response."""
        if self._failed:
            raise Stopped
        rest = b"\x18%b\x20%b" % (varint(revision), varint(self.core.term))
        return field(b"\x0a", self._who + rest)

    def fill(self, header: rpc_pb2.ResponseHeader) -> None:
        """Say who answers, and at which revision unless the answer already says that."""
        if self._failed:
            raise Stopped
        header.cluster_id = self.identity.cluster_id
        header.member_id = self.id
        header.raft_term = self.core.term
        if not header.revision:
            header.revision = self.machine.mvcc.revision

    async def propose(self, command: command_pb2.Command) -> Applied:
        """Have `command` agreed on and applied here. Raises the error that it was refused with.

        An Unavailable error leaves open whether it will be applied.
        """
        applied = await self._submit(command, membership=_kind(command) in _MEMBERSHIP)
        if applied.error is not None:
            raise applied.error
        return applied

    def propose_encoded(self, command: bytes, outcome: Outcome) -> None:
        """The same for an encoded command, without waiting: `outcome` hears of it."""
        self._proposals.add_encoded(command, self._deadline(), outcome)
        self._schedule_pump()

    def _submit(
        self, command: command_pb2.Command, *, membership: bool = False
    ) -> asyncio.Future[Applied]:
        outcome = self._proposals.add(command, self._deadline(), membership=membership)
        self._schedule_pump()
        return outcome

    def _deadline(self) -> float:
        if self._stopping:
            raise Stopped
        return monotonic() + self._request_seconds

    def check_space(self, growth: int) -> None:
        """Refuse what would not fit, before it takes a place in the log."""
        if self._writer is not None and self._writer.full:
            raise NoSpace
        if 0 <= self._limits.quota_bytes < self.machine.mvcc.total_bytes + growth:
            if not self.machine.out_of_space:
                self._raise_alarm()
            raise NoSpace

    def _raise_alarm(self) -> None:
        alarm = rpc_pb2.AlarmRequest(
            action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=self.id, alarm=rpc_pb2.NOSPACE
        )
        self._forget_outcome(command_pb2.Command(alarm=alarm))
        log.warning("quota exceeded", bytes=self.machine.mvcc.total_bytes)

    def _forget_outcome(self, command: command_pb2.Command) -> None:
        outcome = self._submit(command)
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def read_barrier(self) -> None:
        """Return once a read of the local state is linearizable."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pass_barrier(waiter)
        await waiter

    def pass_barrier(self, waiter: Waiter) -> None:
        """The same without waiting: `waiter` hears of it."""
        if self._stopping:
            raise Stopped
        now = monotonic()
        self.barrier.wait(waiter, now, now + self.timing.request_seconds)

    def require_leader(self) -> None:
        if not self.has_leader:
            raise NoLeader

    def on_leaderless(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when the cluster has been without a leader for long. Returns the undo."""
        self._on_leaderless.add(callback)
        return lambda: self._on_leaderless.discard(callback)

    def transfer_leadership(self, to: int) -> bool:
        started = self.core.transfer_leadership(to)
        self._schedule_pump()
        return started

    # --- leases: the leader's clock decides

    def least_ttl(self, ttl_seconds: int) -> int:
        return max(ttl_seconds, self.timing.least_lease_seconds)

    async def lease_renew(self, lease_id: int) -> int:
        """The TTL that the lease has again. LeaseNotFound when it is gone or has run out."""
        if self.is_leader:
            # One that slept while others elected the next leader may not promise any more, nor
            # may a new one before it has applied what the last one wrote: revocations.
            await self.read_barrier()
        if not self.is_leader:
            return int(await self._ask_leader("lease_renew", str(lease_id).encode()))
        lease = self.machine.lessor.get(lease_id)
        remaining = self._expiry.remaining(lease_id, monotonic())
        if remaining is None or remaining <= 0:
            raise LeaseNotFound  # its revocation is on the way
        self._expiry.renew(lease_id, lease.ttl_seconds, monotonic())
        return lease.ttl_seconds

    def lease_seconds(self, lease_id: int) -> float:
        """What is left of it; without end where nobody counts, on a follower."""
        remaining = self._expiry.remaining(lease_id, monotonic())
        return inf if remaining is None else remaining

    async def lease_state(self, lease_id: int) -> LeaseState:
        if not self.is_leader:
            answer = await self._ask_leader("lease_state", str(lease_id).encode())
            return msgspec.msgpack.decode(answer, type=LeaseState)
        lease = self.machine.lessor.leases.get(lease_id)
        remaining = self._expiry.remaining(lease_id, monotonic())
        if lease is None or remaining is None or remaining < 0:
            return LeaseState(0, -1)
        return LeaseState(lease.ttl_seconds, int(remaining), sorted(lease.keys))

    # --- members

    def connect(self, peers: Peers) -> None:
        """From now on talk to the members, whoever they are at any time."""
        self._peers = peers
        self._follow_members()

    def _follow_members(self) -> None:
        if self._peers is None:
            return
        known = self.machine.members
        urls = dict(self._heard_of)
        if self.id not in known and self.id not in known.removed:
            # Added, but the log has not told yet: answer those who were there.
            urls |= {member.id: member.peer_urls[0] for member in self.identity.contacts}
        urls |= {member.ID: member.peerURLs[0] for member in known.listed()}
        self._peers.follow(
            {m: url for m, url in urls.items() if m != self.id and m not in known.removed}
        )

    def greeted(self, hello: Hello) -> None:
        """A member dialled in. One that the log has not told of yet may even be the leader."""
        if hello.sender not in self.peers and hello.sender != self.id and hello.peer_urls:
            self._heard_of[hello.sender] = hello.peer_urls[0]
            self._follow_members()

    def was_removed(self, member: int) -> bool:
        return member in self.machine.members.removed

    def leave_cluster(self) -> None:
        """This member is in the cluster no more, so somebody says who must know."""
        if not self._stopping:
            self._on_fatal(MemberRemoved())

    async def promote_ready(self, member: int) -> None:
        """Raise unless the learner `member` may vote now. Only the leader knows."""
        if self.is_leader:
            self._check_promotion(member)
        else:
            await self._ask_leader("promote_ready", str(member).encode())

    def _check_promotion(self, member: int) -> None:
        progress = self.core.progress.get(member)
        if progress is not None and member in self.machine.members.learners:
            if progress.match < _IN_SYNC * self.core.progress[self.id].match:
                raise LearnerNotReady
            check_promote(self.machine.members, member)

    async def _ask_leader(self, method: str, payload: bytes) -> bytes:
        leader = self.core.leader
        peer = self.peers.get(leader)
        if peer is None:
            raise NoLeader
        answer = await peer.request(method, payload, _PEER_REQUEST_SECONDS)
        if answer.ok:
            return answer.payload
        raise _ERRORS.get(answer.payload, NoLeader)

    async def answer_peer(self, method: str, payload: bytes) -> bytes:
        """A request of another member."""
        if method == "ping":
            return b""
        if method == "digest":
            return msgspec.msgpack.encode(await digest(self, int(payload)))
        if method == "cluster":
            return msgspec.msgpack.encode(self._cluster_info())
        if not self.is_leader:
            raise NotLeader
        if method == "lease_renew":
            return str(await self.lease_renew(int(payload))).encode()
        if method == "lease_state":
            return msgspec.msgpack.encode(await self.lease_state(int(payload)))
        if method == "promote_ready":
            self._check_promotion(int(payload))
            return b""
        raise NotLeader

    def _cluster_info(self) -> ClusterInfo:
        members = tuple(
            MemberIdentity(member.ID, member.name, tuple(member.peerURLs))
            for member in self.machine.members.listed()
        )
        started = tuple(member.ID for member in self.members if member.clientURLs)
        return ClusterInfo(self.identity.cluster_id, self.identity.members, members, started)

    # --- running

    def start(self, writer: DiskWriter) -> None:
        self._writer = writer
        self._spawn(self._tick_forever(), "raft-tick")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """What is in memory may be half of a change: from now on nothing is done to it, and
        nobody is answered from it."""
        self._failed = self._stopping = True
        self._fail_waiting()
        self._on_fatal(error)

    def _fail_waiting(self) -> None:
        self._proposals.fail_all(Stopped())
        self.barrier.fail_all(Stopped())

    async def stop(self) -> None:
        """Hand leadership on if somebody can take it, then let go of everything."""
        heir = self._best_heir() if self.is_leader and self.peers and not self._failed else NOBODY
        if heir:
            self.transfer_leadership(heir)
            for _ in range(self.timing.election_ticks):
                if not self.is_leader:
                    break
                await asyncio.sleep(self.timing.tick_seconds)
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_waiting()
        if self._writer is not None:
            self._writer.stop()

    def _best_heir(self) -> int:
        others = {
            member: progress.match
            for member, progress in self.core.progress.items()
            if self.core.membership.votes(member) and member in self.connected()
        }
        return max(others, key=lambda member: others[member], default=NOBODY)

    async def _tick_forever(self) -> None:
        due = monotonic()
        while True:
            due += self.timing.tick_seconds
            now = monotonic()
            if due < now - self.timing.election_seconds:
                due = now  # the machine slept: that time did not pass for the others' messages
            await asyncio.sleep(max(0.0, due - now))
            self._tick()

    def _tick(self) -> None:
        now = monotonic()
        self.core.tick()
        self._proposals.expire(now)
        self.barrier.tick(now, leader_changed=False)
        if now - self._last_expiry >= _EXPIRE_SECONDS:
            self._last_expiry = now
            self._revoke_expired(now)
        if now - self._last_progress >= self._limits.progress_seconds:
            self._last_progress = now
            self.hub.notify_progress()
        if self._writer is not None and self._writer.full and self.is_leader:
            self.core.transfer_leadership(self._best_heir())
        self._tell_leaderless(now)
        self._pump()
        self._leave_if_removed()

    def _leave_if_removed(self) -> None:
        """Stop, but not before the others have had the answers that end the change."""
        if self.was_removed(self.id):
            self._removed_ticks += 1
            if self._removed_ticks > self.timing.election_ticks // 2:
                self.leave_cluster()

    def _tell_leaderless(self, now: float) -> None:
        patience = _NO_LEADER_TIMEOUTS * self.timing.election_seconds
        if self._leader_lost_at is not None and now - self._leader_lost_at > patience:
            for callback in list(self._on_leaderless):
                callback()

    def _revoke_expired(self, now: float) -> None:
        """Appended at once or not at all. In a queue it could wait for the next leader, with whom
        clients may have renewed the lease."""
        if not self.is_leader:
            return
        # Nobody's permission is needed for the end of a lease: the store itself acts.
        revocations = [
            command_pb2.Command(
                lease_revoke=rpc_pb2.LeaseRevokeRequest(ID=lease_id),
                user=ROOT,
                auth_revision=self.auth.revision,
            )
            for lease_id in self._expiry.expired(now, _EXPIRE_AT_ONCE)
        ]
        try:
            if revocations:
                self.core.propose([command.SerializeToString() for command in revocations])
        except ProposalDropped:
            log.info("leases not revoked yet", count=len(revocations))

    # --- messages

    def receive(self, messages: Sequence[Message]) -> None:
        """Messages of another member. Garbage that decodes is Raft's business to survive."""
        for message in messages:
            if message.to == self.id and message.type is not MessageType.SNAPSHOT:
                self.core.step(message)
        self._schedule_pump()

    async def receive_snapshot(self, message: Message, received: Path) -> None:
        """A leader sent its state. Checked and decoded before Raft hears of it."""
        try:
            meta, machine = await asyncio.to_thread(state.load, received)
            if meta is None or meta != message.snapshot:
                raise SnapshotCorrupt("it is not the snapshot that was announced")
        except SnapshotCorrupt as error:
            received.unlink(missing_ok=True)
            log.error("snapshot refused", sender=f"{message.sender:x}", error=str(error))
            raise StoreError(f"snapshot refused: {error}") from error
        before = self.core.log.applied
        self.core.step(message)
        if self.core.log.applied > before:
            # At once, although the disk may still be busy with an earlier write: what Raft hands
            # out to be applied from now on follows the snapshot.
            self._install(meta, machine)
            self._received[meta.index] = received
        else:
            received.unlink(missing_ok=True)  # Raft had no use for it
        self._pump()

    def peer_gone(self, peer: int) -> None:
        if peer == self.core.leader:
            self.core.suspect_leader()

    def peer_unreachable(self, peer: int) -> None:
        self.core.report_unreachable(peer)

    def _ask_read_index(self, context: bytes) -> None:
        self.core.read_index(context)
        self._schedule_pump()

    # --- the pump

    def _schedule_pump(self) -> None:
        """Everything that comes in during one turn of the loop is answered by one pump."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._scheduled_pump)

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        self._pump()

    def _pump(self, *, tell_commits: bool = False) -> None:
        """Do everything that Raft wants done. Never waits."""
        if self._pumping or self._stopping:
            return
        self._pumping = True
        try:
            self._hand_over_proposals()
            while (ready := self.core.ready(tell_commits=tell_commits)) != _NOTHING:
                self._perform(ready)
            self._flush()
            if self._members_moved:
                # Not before: who was removed is to hear of it, and that was among the messages.
                self._members_moved = False
                self._follow_members()
            self._notice_leader()
            if not self._telling and self.core.untold_commits():
                self._telling = True
                asyncio.get_running_loop().call_later(_COMMIT_SECONDS, self._tell_commits)
        except Exception as error:
            self.fail(error)
        finally:
            self._pumping = False

    def _tell_commits(self) -> None:
        """No append came that would have said it. A message of its own for each commit would
        double the messages of a client that writes one key after the other."""
        self._telling = False
        self._pump(tell_commits=True)

    def _hand_over_proposals(self) -> None:
        while self.has_leader and (batch := self._proposals.next_batch()):
            try:
                if self._proposals.changes_membership(batch):
                    self.core.propose_config(batch[0][1])
                else:
                    self.core.propose([payload for _, payload in batch])
            except ProposalDropped:
                self._proposals.put_back(batch)
                return  # the next tick tries again
            self._proposals.handed_over(batch, self.core.term)

    def _perform(self, ready: Ready) -> None:
        for message in ready.messages:
            self._send(message)
        if ready.write is not None:
            # What is sent leaves first: the disk's thread would take the interpreter meanwhile.
            self._flush()
            self._write(ready.write)
        if ready.committed:
            with BACKEND_COMMIT.time():
                self._apply(ready.committed)
        for read in ready.reads:
            self.barrier.answered(read, monotonic())

    def _flush(self) -> None:
        for peer in self.peers.values():
            peer.flush()

    def _send(self, message: Message) -> None:
        peer = self.peers.get(message.to)
        if peer is None:
            return
        if message.type is MessageType.SNAPSHOT:
            self._spawn(self._send_snapshot(peer, message), f"snapshot-{peer.id:x}")
        else:
            peer.send(message)

    async def _send_snapshot(self, peer: PeerClient, message: Message) -> None:
        assert message.snapshot is not None
        path = self._snapshots.path(message.snapshot)
        log.info("sending snapshot", peer=f"{peer.id:x}", index=message.snapshot.index)
        try:
            delivered = await peer.send_snapshot(
                message, lambda start: self._snapshots.pieces(path, start)
            )
        except FileNotFoundError:
            delivered = False  # a newer one took its place: the core will name that
        self.core.report_snapshot(peer.id, delivered=delivered)
        self._schedule_pump()

    def _write(self, write: Write) -> None:
        assert self._writer is not None
        received = self._received.pop(write.snapshot.index) if write.snapshot else None

        def job(wal: Wal) -> None:
            if write.snapshot is not None and received is not None:
                hit("snapshot-before-install")
                self._snapshots.install(write.snapshot, received)
                hit("snapshot-after-install")
            wal.append(write.hard_state, write.entries, write.snapshot)

        self._writer.submit(job, lambda: self._written(write))

    def _written(self, write: Write) -> None:
        if self._stopping:
            return
        hit("written-before-send")
        for message in write.messages:
            self._send(message)
        hit("written-after-send")
        self.core.advance(write)
        self._schedule_pump()

    def _install(self, meta: SnapshotMeta, machine: Machine) -> None:
        """The state that came with a snapshot takes the place of ours."""
        self.machine = machine
        self.hub.replaced(self.machine.mvcc)
        self.applied = meta.index
        self.barrier.applied(self.applied)
        self._follow_members()
        log.info("snapshot installed", index=meta.index, revision=self.machine.mvcc.revision)

    # --- applying

    def _apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.data:
                self._apply_one(entry)
            elif entry.kind is EntryKind.CONFIG:
                self.core.apply_membership(leave(self.core.membership))
            if entry.term > self._applied_term:
                self._applied_term = entry.term
                self._proposals.term_applied(entry.term)
        self.applied = entries[-1].index
        self.barrier.applied(self.applied)
        self._maybe_snapshot()

    def _apply_one(self, entry: Entry) -> None:
        hit("apply-before")
        applied = self.machine.apply(entry.data)
        hit("apply-after")
        kind = applied.kind
        if kind in self.applied_kinds:
            self.applied_kinds[kind] += 1
        if applied.changes and self.hub.streams:
            self.hub.changed(applied.changes)
        if kind == "compaction":
            self._schedule_sweep()
        elif kind not in _KEYS_ONLY:
            self._follow(entry, applied)
        self._proposals.settle(applied)

    def _schedule_sweep(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._spawn(self._sweep(), "sweep")

    async def _sweep(self) -> None:
        """What compactions have superseded goes away in pieces, between everything else."""
        more = True
        while more:
            more = self.machine.mvcc.sweep(_SWEEP_RECORDS)
            await asyncio.sleep(0)
        self._sweeping = False
        for waiter in self._on_swept:
            waiter.set_result(None)
        self._on_swept = []

    async def swept(self) -> None:
        """Return once the memory of what is compacted is free."""
        if self._sweeping:
            waiter = asyncio.get_running_loop().create_future()
            self._on_swept.append(waiter)
            await asyncio.shield(waiter)

    def _follow(self, entry: Entry, applied: Applied) -> None:
        """What a command changes outside of the state machine."""
        if applied.error is None:
            self._follow_leases(applied.kind, applied.command)
            self._follow_tokens(applied.kind, applied.command)
        if entry.kind is EntryKind.CONFIG or applied.kind in _MEMBERS_CHANGED:
            self._members_changed(entry, applied)

    def _members_changed(self, entry: Entry, applied: Applied) -> None:
        if entry.kind is EntryKind.CONFIG:
            # Also when it was refused: the core waits to hear that the change is over.
            self.core.apply_membership(membership_of(self.machine.members))
        if applied.error is None:
            log.info("members changed", members=[f"{m.ID:x}" for m in self.members])
        self._members_moved = True

    def _follow_leases(self, kind: str, command: command_pb2.Command) -> None:
        if kind == "lease_grant":
            grant = command.lease_grant
            self._expiry.renew(grant.ID, grant.TTL, monotonic())
        elif kind == "lease_revoke":
            self._expiry.forget(command.lease_revoke.ID)

    def _follow_tokens(self, kind: str, command: command_pb2.Command) -> None:
        match kind:
            case "authenticate":
                token = command.authenticate
                self.tokens.add(token.token, token.user, monotonic())
            case "auth_disable":
                self.tokens.clear()
            case "user_delete":
                self.tokens.forget_user(command.user_delete.name)
            case "user_change_password":
                self.tokens.forget_user(command.user_change_password.name)

    def _notice_leader(self) -> None:
        leader = self.core.leader
        if leader == self._leader:
            return
        self._leader = leader
        now = monotonic()
        if leader == NOBODY:
            self._leader_lost_at = now
        else:
            self._leader_lost_at = None
            self.leader_changes += 1
        if leader == self.id:
            self._expiry.lead(
                self.machine.lessor.leases.values(), now, self.timing.election_seconds
            )
        else:
            self._expiry.follow()
        self.barrier.tick(now, leader_changed=True)
        self._schedule_pump()
        log.info("leader changed", leader=f"{leader:x}", term=self.core.term)

    # --- snapshots

    def _maybe_snapshot(self) -> None:
        if self._snapshotting:
            return
        records = self.machine.mvcc.history().count
        if self.applied - self.core.log.snapshot.index >= self._limits.entries_for(records):
            self._snapshotting = True
            self._spawn(self._snapshot(), "snapshot")

    async def _snapshot(self) -> None:
        """Write the state down and forget the log that it replaces."""
        captured = self.capture()
        meta = captured.meta
        try:
            with SNAPSHOT_SAVE.time():
                path = await asyncio.to_thread(
                    lambda: self._snapshots.save(meta, state.plan(captured).pages())
                )
        except OSError as error:
            log.error("snapshot not written", error=str(error))
            self._snapshotting = False
            return
        if meta.index <= self.core.log.snapshot.index:
            self._snapshotting = False  # meanwhile a newer one came from the leader
            return
        log.info("snapshot written", index=meta.index, bytes=_size(path))
        assert self._writer is not None
        self._writer.submit(lambda wal: wal.note_snapshot(meta), lambda: self._snapshot_noted(meta))

    def _snapshot_noted(self, meta: SnapshotMeta) -> None:
        self._snapshotting = False
        if meta.index > self.core.log.snapshot.index:
            hit("log-before-compact")
            self.core.compact(meta, self._limits.catchup_entries)
            hit("log-after-compact")
            self._snapshots.drop_old()

    def capture(self) -> state.Capture:
        """A consistent view of the state as it is now, and the log position it stands for."""
        term = self.core.log.term_at(self.applied)
        assert term is not None
        return state.capture(self.machine, SnapshotMeta(self.applied, term, self.core.membership))

    def incoming(self, sender: int, meta: SnapshotMeta) -> Incoming:
        """Where a snapshot that `sender` is about to send is kept."""
        return self._snapshots.incoming(sender, meta)


_NOTHING = Ready()
# A learner may vote when it has this much of what the leader has (etcd: readyPercent).
_IN_SYNC = 0.9
# These take their place in the log as changes of Raft's membership.
_MEMBERSHIP = ("member_add", "member_remove", "member_promote")
# These change keys and nothing that the node itself keeps.
_KEYS_ONLY = frozenset(("put", "delete_range", "txn"))
_MEMBERS_CHANGED = (*_MEMBERSHIP, "member_update")
# What a leader's refusal is called between members.
_ERRORS: dict[bytes, type[StoreError]] = {
    error.__name__.encode(): error for error in (LeaseNotFound, LearnerNotReady, NotEnoughStarted)
}


def _kind(command: command_pb2.Command) -> str:
    return command.WhichOneof("request") or ""


def _size(path: Path) -> int:
    return path.stat().st_size
