"""A whole Raft cluster in one thread: virtual time, a hostile network and hostile disks.

One seed decides everything. Timing is the store's own: a tick of 100 ms, an election timeout of
ten. After each step `Checker` judges the whole cluster. Faults are the business of `storm` and
`episodes`; this module carries them out.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from master.kvstore.raft import membership as memberships
from master.kvstore.raft.core import Config, Core, ProposalDropped, Role, Write
from master.kvstore.raft.messages import (
    Entry,
    EntryKind,
    Membership,
    Message,
    MessageType,
    SnapshotMeta,
)
from tests.simulation.disk import Disk
from tests.simulation.invariants import Checker
from tests.simulation.quiet import picture
from tests.simulation.timeline import ELECTION_TICKS, PERIOD, TICK, Timeline

_SNAPSHOT_MS = 50

_DELIVER, _WRITTEN, _TICK, _SAVED = range(4)
_Sets = tuple[frozenset[int], frozenset[int]]  # what a change aims at: voters and learners


@dataclass
class Conditions:
    """The weather for all: how likely a message is lost or doubled, and how late things are."""

    drop: float = 0.0
    duplicate: float = 0.0
    jitter: int = 0  # ms that a message takes longer, at most
    slow_disk: int = 0  # ms that a write takes longer, at most
    compact_after: int = 25  # entries
    crash_voters: float = 0.0  # who has just voted for somebody crashes, and is soon back

    @property
    def hostile(self) -> bool:
        return bool(self.drop or self.duplicate or self.jitter)


@dataclass
class Counts:
    """What happened, for the report."""

    commits: int = 0
    proposed: int = 0
    acknowledged: int = 0
    reads: int = 0
    snapshots_installed: int = 0
    snapshots_taken: int = 0
    changes: int = 0


class Cluster(Timeline):
    def __init__(
        self,
        seed: int,
        members: int = 3,
        spares: int = 0,
        *,
        skip_quiet: bool = True,
        trace: Callable[[int, str], None] | None = None,
    ) -> None:
        """`spares` run from the start but belong to nobody until a change takes them in."""
        super().__init__(skip_quiet=skip_quiet, trace=trace)
        self.rng = random.Random(seed)
        self.membership = Membership(voters=frozenset(range(1, members + 1)))
        self.everybody = range(1, members + spares + 1)
        self.disks = {member: Disk() for member in self.everybody}
        self.cores: dict[int, Core] = {}
        self.checker = Checker(self.disks, self.cores)
        self.conditions = Conditions()
        self.cut: set[tuple[int, int]] = set()  # (sender, receiver) that hear nothing
        self.stopped: set[int] = set()  # their clock stands still
        self.parked: dict[int, list[tuple[int, Any]]] = {}  # suspended, with what waits for them
        self.tick_ms = dict.fromkeys(self.everybody, TICK)
        near, far = self.rng.choice([(1, 4), (1, 4), (20, 60)])
        self.latency = {
            (a, b): self.rng.randrange(near, far) for a in self.everybody for b in self.everybody
        }
        self.disk_ms = {member: self.rng.randrange(1, 8) for member in self.everybody}
        self.counts = Counts()
        self.faults: Counter[str] = Counter()
        self.changes: list[Membership] = []  # as they were first applied
        self.leaders_removed = 0
        self._generation = dict.fromkeys(self.everybody, 0)
        self._writing: dict[int, Write] = {}
        self._saving: set[int] = set()  # members that write a snapshot of their own
        self._waiting: dict[bytes, tuple[int, int]] = {}  # proposal: member, its generation
        self._reads: dict[bytes, int] = {}  # request: what was committed when it began
        self._last_delivered: dict[tuple[int, int], int] = {}
        for member in self.everybody:
            self.start(member)

    def _handle(self, kind: int, member: int, what: Any, sequence: int) -> None:
        if member in self.parked:
            self.parked[member].append((kind, what))
        elif kind == _TICK:
            self._tick(member, what)
        elif kind == _DELIVER:
            self._deliver(member, what, sequence)
        elif kind == _WRITTEN:
            self._written(member, *what)
        else:
            self._saved(member, *what)

    def _whole_state(self) -> object:
        return (
            picture(self.cores),
            tuple(picture(disk) for disk in self.disks.values()),
            picture(self.rng),
            picture(self._generation),
            picture(self._saving),
            picture(self.checker.applied),
        )

    def state(self) -> object:
        """All there is, for comparing two runs at the end."""
        return self._take_picture(), self.checker.committed, self.checker.leaders, self.faults

    def _trace_member(self, member: int, what: str) -> None:
        if self.traced and (core := self.cores.get(member)) is not None:
            log = core.log
            self.trace(
                f"{member} {what}: {core.role.value} term={core.term} leader={core.leader}"
                f" last={log.last_index} stable={log.stable} commit={log.commit}"
                f" applied={log.applied}"
            )

    # --- members

    def start(self, member: int) -> None:
        if member in self.cores:
            return
        disk = self.disks[member]
        self._generation[member] += 1
        self.cores[member] = Core(
            Config(member, election_ticks=ELECTION_TICKS, heartbeat_ticks=1, max_message_bytes=64),
            random.Random(self.rng.random()),
            membership=disk.snapshot.membership if disk.snapshot else self.membership,
            hard_state=disk.hard_state,
            snapshot=disk.snapshot,
            entries=list(disk.entries),
        )
        self.checker.started(member)
        first_tick = self.rng.randrange(1, TICK + 1)
        self._schedule(first_tick, _TICK, member, self._generation[member])
        self._trace_member(member, "starts")

    def crash(self, member: int) -> bool:
        if not self.stop(member):
            return False
        self.faults["crash"] += 1
        return True

    def _maybe_restart(self, member: int) -> None:
        if self.rng.random() < self.conditions.crash_voters:
            self.at(0, self.crash, member)
            self.at(self.rng.randrange(1, TICK), self.start, member)

    def stop(self, member: int) -> bool:
        """The write that is under way reaches the disk or not; nobody will hear of it."""
        if self.cores.pop(member, None) is None:
            return False
        self._saving.discard(member)
        for kind, what in self.parked.pop(member, []):
            if kind == _DELIVER:
                self._lost(what)
        write = self._writing.pop(member, None)
        if write is not None and self.rng.random() < 0.3:
            self.disks[member].store(write)
        elif write is not None:
            self.faults["write lost in a crash"] += 1
        self.trace(f"{member} stops")
        return True

    def park(self, member: int) -> None:
        """SIGSTOP: it does nothing, and will then do all at once."""
        if member in self.cores and member not in self.parked:
            self.parked[member] = []
            self.faults["suspended process"] += 1
            self.trace(f"{member} is suspended")

    def unpark(self, member: int) -> None:
        for kind, what in self.parked.pop(member, []):
            self._schedule(0, kind, member, what)

    def leader(self) -> int | None:
        """The leader of the newest term, if there is one."""
        leaders = [core for core in self.cores.values() if core.role is Role.LEADER]
        return max(leaders, key=lambda core: core.term).id if leaders else None

    def current(self) -> Membership:
        return self.changes[-1] if self.changes else self.membership

    # --- events

    def _tick(self, member: int, generation: int) -> None:
        if generation != self._generation[member] or member not in self.cores:
            return
        self._schedule(self.tick_ms[member], _TICK, member, generation)
        if member not in self.stopped:
            self.cores[member].reached(self._within_reach(member))
            self.cores[member].tick()
            self._pump(member)
            self._trace_member(member, "tick")

    def _within_reach(self, member: int) -> set[int]:
        return {other for other in self.cores if (member, other) not in self.cut}

    def _deliver(self, member: int, message: Message, sequence: int) -> None:
        link = (message.sender, member)
        core = self.cores.get(member)
        if core is None or link in self.cut:
            self._lost(message)
            return
        if sequence < self._last_delivered.get(link, 0):
            self.faults["reordered message"] += 1
        else:
            self._last_delivered[link] = sequence
        core.step(message)
        if message.type is MessageType.SNAPSHOT:
            self._report(message, delivered=True)
        self._pump(member)
        self._trace_member(member, f"hears {message.type.name} of {message.sender}")

    def _written(self, member: int, generation: int, write: Write) -> None:
        if member not in self.cores or generation != self._generation[member]:
            return  # the crash came first
        del self._writing[member]
        self.disks[member].store(write)
        for message in write.messages:
            self._send(message)
        self.cores[member].advance(write)
        self._pump(member)
        self._trace_member(member, "has written")

    def _saved(self, member: int, generation: int, meta: SnapshotMeta, keep: int) -> None:
        if member not in self.cores or generation != self._generation[member]:
            return
        self._saving.discard(member)
        core = self.cores[member]
        if meta.index > core.log.snapshot.index:
            self.disks[member].keep_from(meta)
            core.compact(meta, keep)
            self.counts.snapshots_taken += 1
            self.checker.observe(member)
            self._trace_member(member, "has a snapshot")

    def _pump(self, member: int) -> None:
        core, checker = self.cores[member], self.checker
        while True:
            checker.observe(member)
            ready = core.ready()
            if ready.write is None and not (ready.messages or ready.committed or ready.reads):
                break
            for message in ready.messages:
                self._send(message)
            if ready.write is not None:
                self._write(member, ready.write)
            if ready.committed:
                self._apply(member, ready.committed)
            for read in ready.reads:
                if read.context in self._reads:
                    assert read.index >= self._reads.pop(read.context), "a stale read was allowed"
                    self.counts.reads += 1
            if not ready.committed:
                break  # only what was applied can have given the core more to do
        checker.observe(member)
        if core.log.applied - core.log.snapshot.index >= self.conditions.compact_after:
            self._maybe_compact(member)

    def _write(self, member: int, write: Write) -> None:
        delay = self.disk_ms[member]
        if self.conditions.slow_disk:
            delay += self.rng.randrange(self.conditions.slow_disk)
            self.faults["slow write"] += 1
        self._writing[member] = write
        self._schedule(delay, _WRITTEN, member, (self._generation[member], write))
        if write.snapshot is not None:
            self.checker.restored(member, write.snapshot.index)
            self.counts.snapshots_installed += 1

    def _apply(self, member: int, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.checker.apply(member, entry)
            if entry.kind is EntryKind.CONFIG:
                self._apply_change(member, entry)
            elif self._waiting.get(entry.data) == (member, self._generation[member]):
                del self._waiting[entry.data]
                self.counts.acknowledged += 1
        self.counts.commits = self.checker.last_committed

    def _apply_change(self, member: int, entry: Entry) -> None:
        core = self.cores[member]
        after = changed(core.membership, entry.data)
        if self.checker.membership(entry.index, core.membership, after):
            self.changes.append(after)
            self.counts.changes += 1
            for missing in sorted(after.everyone() - set(self.cores)):
                self.at(PERIOD, self.start, missing)  # the operator starts whom it names
        led = core.role is Role.LEADER
        core.apply_membership(after)
        self.leaders_removed += led and core.role is not Role.LEADER

    def _send(self, message: Message) -> None:
        if message.type is MessageType.VOTE_RESPONSE:
            self.checker.voted(message)
            if self.conditions.crash_voters and not message.reject:
                self._maybe_restart(message.sender)
        link, conditions = (message.sender, message.to), self.conditions
        delay = self.latency[link]
        if link in self.cut:
            self._lost(message)
            return
        if message.type is MessageType.SNAPSHOT:
            delay += _SNAPSHOT_MS
        if not conditions.hostile:
            self._schedule(delay, _DELIVER, message.to, message)
            return
        if self.rng.random() < conditions.drop:
            self.faults["dropped message"] += 1
            self._lost(message)
            return
        copies = 1
        # Peers talk over TCP, and no request is sent twice: forwarded ones come once or not at all.
        if self.rng.random() < conditions.duplicate and message.type is not MessageType.PROPOSE:
            copies = 2
            self.faults["doubled message"] += 1
        for _ in range(copies):
            late = self.rng.randrange(conditions.jitter + 1)
            self.faults["late message"] += late > 0
            self._schedule(delay + late, _DELIVER, message.to, message)

    def _lost(self, message: Message) -> None:
        if message.type is MessageType.SNAPSHOT:
            self._report(message, delivered=False)
        elif (
            message.type is MessageType.APPEND
            and message.sender in self.cores
            and self.rng.random() < 0.5  # a transport notices some losses, not all
        ):
            self.cores[message.sender].report_unreachable(message.to)

    def _report(self, message: Message, *, delivered: bool) -> None:
        if message.sender in self.cores:
            self.cores[message.sender].report_snapshot(message.to, delivered=delivered)

    def _maybe_compact(self, member: int) -> None:
        core = self.cores[member]
        if member in self._saving or member in self._writing or self.rng.random() > 0.2:
            return
        term = core.log.term_at(core.log.applied)
        assert term is not None
        meta = SnapshotMeta(core.log.applied, term, core.membership)
        what = (self._generation[member], meta, self.rng.choice([0, 5]))
        self._saving.add(member)
        self._schedule(self.disk_ms[member] + self.conditions.slow_disk, _SAVED, member, what)

    # --- clients

    def propose(self, member: int) -> bool:
        """A client writes through `member`. Whether it was taken, not whether it will last."""
        if member not in self.cores or member in self.parked:
            return False
        self.counts.proposed += 1
        payload = b"%d" % self.counts.proposed
        try:
            self.cores[member].propose([payload])
        except ProposalDropped:
            return False
        self._waiting[payload] = (member, self._generation[member])
        self._pump(member)
        return True

    def read(self, member: int) -> None:
        if member not in self.cores or member in self.parked:
            return
        context = b"r%d" % self._sequence
        self._sequence += 1
        self._reads[context] = self.checker.last_committed
        self.cores[member].read_index(context)
        self._pump(member)

    def transfer(self, member: int, to: int) -> None:
        if member in self.cores and member not in self.parked:
            self.faults["leadership transfer"] += self.cores[member].transfer_leadership(to)
            self._pump(member)

    def suspect(self, member: int) -> None:
        """`member` is told, rightly or not, that its leader's process is gone."""
        if member in self.cores and member not in self.parked:
            self.faults["suspected leader"] += 1
            self.cores[member].suspect_leader()

    def change(self, member: int, voters: Iterable[int], learners: Iterable[int]) -> None:
        """Whoever applies it goes there, jointly if it is far."""
        if member not in self.cores or member in self.parked:
            return
        payload = msgspec.msgpack.encode((sorted(voters), sorted(learners)))
        with contextlib.suppress(ProposalDropped):
            self.cores[member].propose_config(payload)
        self._pump(member)

    # --- the end of faults

    def heal(self) -> None:
        """Nothing is broken any more, from here on."""
        self.conditions = Conditions()
        self.cut.clear()
        self.stopped.clear()
        self.tick_ms = dict.fromkeys(self.everybody, TICK)
        for member in list(self.parked):
            self.unpark(member)
        self.calm = True
        self.trace("all faults end")

    def assert_settled(self) -> None:
        """One leader, known to all who count, the same log applied by each of them, and nobody
        still waits to read."""
        last = self.current()
        assert not last.outgoing, "a joint change did not end"
        cores = [self.cores[member] for member in sorted(last.everyone())]
        assert {core.leader for core in cores} == {self.leader()}, "they follow different leaders"
        assert self.leader() in last.voters
        reads = self.cores[self.leader()].reads
        assert reads.idle and not reads.waiting, "a read is never answered"
        for core in cores:
            assert self.checker.applied[core.id] == self.checker.last_committed, (
                f"{core.id} stays behind"
            )


def changed(current: Membership, data: bytes) -> Membership:
    """What a CONFIG entry makes of `current`; a refused change leaves it as it is."""
    if not data:
        return memberships.leave(current)
    voters, learners = msgspec.msgpack.decode(data, type=_Sets)
    try:
        return memberships.change(current, voters, learners)
    except memberships.UnsafeChange:
        return current
