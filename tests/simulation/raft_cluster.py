"""A whole Raft cluster in one thread: virtual time, a hostile network and hostile disks.

One seed decides everything. After every step the safety properties of the Raft paper (figure 3)
are checked over all members at once, with knowledge that no member has.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from master.kvstore.raft import membership as memberships
from master.kvstore.raft.core import Config, Core, ProposalDropped, Ready, Role, Write
from master.kvstore.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Message,
    MessageType,
    SnapshotMeta,
)
from master.kvstore.raft.quorum import has_quorum

_Sets = tuple[frozenset[int], frozenset[int]]  # what a change aims at: voters and learners


@dataclass
class Disk:
    """What survives a crash."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta | None = None
    entries: list[Entry] = field(default_factory=list)

    def store(self, write: Write) -> None:
        if write.snapshot is not None:
            self.snapshot, self.entries = write.snapshot, []
        if write.entries:
            first = write.entries[0].index
            self.entries = [entry for entry in self.entries if entry.index < first]
            self.entries.extend(write.entries)
        self.hard_state = write.hard_state

    def keep_from(self, snapshot: SnapshotMeta) -> None:
        self.snapshot = snapshot
        self.entries = [entry for entry in self.entries if entry.index > snapshot.index]

    def holds(self, index: int, term: int) -> bool:
        if self.snapshot is not None and index <= self.snapshot.index:
            return True
        return any(entry.index == index and entry.term == term for entry in self.entries)


@dataclass
class Faults:
    drop: float = 0.05
    duplicate: float = 0.05
    max_delay: int = 6
    slow_disk: int = 4
    crash: float = 0.004
    partition: float = 0.01
    heal: float = 0.05
    stopped_clock: float = 0.004
    change: float = 0.0  # of the membership: one voter, several at once, learners


class Cluster:
    def __init__(
        self, seed: int, members: int = 3, faults: Faults | None = None, spares: int = 0
    ) -> None:
        """`spares` run from the start but belong to nobody until a change takes them in."""
        self.rng = random.Random(seed)
        self.faults = faults or Faults()
        self.membership = Membership(voters=frozenset(range(1, members + 1)))
        self.everybody = range(1, members + spares + 1)
        self.disks = {member: Disk() for member in self.everybody}
        self.cores: dict[int, Core] = {}
        self.down: dict[int, int] = {}  # member -> tick at which it starts again
        self.no_ticks: dict[int, int] = {}  # member -> until when its clock stands still
        self.cut: set[tuple[int, int]] = set()  # (sender, receiver) that hear nothing
        self.now = 0
        self.sequence = 0
        self.events: list[tuple[int, int, int, int, object]] = []
        self.generation = dict.fromkeys(self.everybody, 0)
        self.proposed = 0
        self.commits = 0
        # What only the checker knows:
        self.leaders: dict[int, int] = {}
        self.committed: dict[int, Entry] = {}
        self.seen: dict[tuple[int, int], tuple[bytes, int | None]] = {}
        self.applied: dict[int, int] = {}
        self.reads: dict[bytes, int] = {}
        self.reads_served = 0
        self.snapshots_installed = 0
        self.changes: list[Membership] = []  # as they were first applied
        self.leaders_removed = 0
        self.members_at: dict[int, Membership] = {}  # index -> what counts from there on
        for member in self.everybody:
            self.start(member)

    # --- running

    def start(self, member: int) -> None:
        disk = self.disks[member]
        self.generation[member] += 1
        self.cores[member] = Core(
            Config(member, election_ticks=10, heartbeat_ticks=1, max_message_bytes=64),
            random.Random(self.rng.random()),
            membership=disk.snapshot.membership if disk.snapshot else self.membership,
            hard_state=disk.hard_state,
            snapshot=disk.snapshot,
            entries=list(disk.entries),
        )
        self.applied[member] = disk.snapshot.index if disk.snapshot else 0

    def crash(self, member: int) -> None:
        del self.cores[member]
        self.down[member] = self.now + self.rng.randrange(1, 60)

    def schedule(self, delay: int, kind: int, member: int, what: object) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (self.now + delay, self.sequence, kind, member, what))

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += 1
            self.misfortune()
            for member in sorted(self.cores):
                if self.no_ticks.get(member, 0) <= self.now:
                    self.cores[member].tick()
                self.pump(member)
            self.client()
            while self.events and self.events[0][0] <= self.now:
                _, _, kind, member, what = heapq.heappop(self.events)
                if kind == 0:
                    self.deliver(member, what)
                else:
                    self.written(member, what)

    def deliver(self, member: int, what: object) -> None:
        assert isinstance(what, Message)
        core = self.cores.get(member)
        if core is None or (what.sender, member) in self.cut:
            self.lost(what)
            return
        core.step(what)
        if what.type is MessageType.SNAPSHOT:
            self.report(what, delivered=True)
        self.pump(member)

    def written(self, member: int, what: object) -> None:
        generation, write = what  # type: ignore[misc]
        if member not in self.cores or generation != self.generation[member]:
            return  # the crash came first: this write never reached the disk
        self.disks[member].store(write)
        for message in write.messages:
            self.send(message)
        self.cores[member].advance(write)
        self.pump(member)

    def pump(self, member: int) -> None:
        core = self.cores[member]
        while True:
            self.check(member)
            ready = core.ready()
            if ready == Ready():
                break
            for message in ready.messages:
                self.send(message)
            if ready.write is not None:
                delay = self.rng.randrange(0, self.faults.slow_disk + 1)
                self.schedule(delay, 1, member, (self.generation[member], ready.write))
                if ready.write.snapshot is not None:
                    self.applied[member] = ready.write.snapshot.index
                    self.snapshots_installed += 1
            self.check_applied(member, ready)
            self.apply(member, ready.committed)
            for read in ready.reads:
                if read.context in self.reads:
                    assert read.index >= self.reads.pop(read.context), "a stale read was allowed"
                    self.reads_served += 1
        self.maybe_compact(member)

    def apply(self, member: int, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.kind is not EntryKind.CONFIG:
                continue
            core = self.cores[member]
            after = changed(core.membership, entry.data)
            known = self.members_at.setdefault(entry.index, after)
            assert known == after, f"{member} counts others than its peers from {entry.index} on"
            if known is after:
                self.changes.append(after)
            led = core.role is Role.LEADER
            core.apply_membership(after)
            self.leaders_removed += led and core.role is not Role.LEADER

    def send(self, message: Message) -> None:
        if (message.sender, message.to) in self.cut or self.rng.random() < self.faults.drop:
            self.lost(message)
            return
        copies = 2 if self.rng.random() < self.faults.duplicate else 1
        if message.type is MessageType.PROPOSE:
            copies = 1
        for _ in range(copies):
            self.schedule(self.rng.randrange(0, self.faults.max_delay), 0, message.to, message)

    def lost(self, message: Message) -> None:
        if message.type is MessageType.SNAPSHOT:
            self.report(message, delivered=False)

    def report(self, message: Message, *, delivered: bool) -> None:
        if message.sender in self.cores:
            self.cores[message.sender].report_snapshot(message.to, delivered=delivered)

    def client(self) -> None:
        if self.rng.random() < 0.5:
            member = self.rng.choice(self.everybody)
            if member in self.cores:
                self.proposed += 1
                with contextlib.suppress(ProposalDropped):
                    self.cores[member].propose([b"%d" % self.proposed])
                self.pump(member)
        if self.rng.random() < 0.3 and self.cores:
            member = self.rng.choice(sorted(self.cores))
            context = b"r%d" % self.sequence
            self.sequence += 1
            self.reads[context] = max(self.committed, default=0)
            self.cores[member].read_index(context)
            self.pump(member)
        if self.rng.random() < 0.005 and self.cores:
            member = self.rng.choice(sorted(self.cores))
            target = self.rng.choice(self.everybody)
            self.cores[member].transfer_leadership(target)
            self.pump(member)
        if self.faults.change and self.cores and self.rng.random() < self.faults.change:
            member = self.rng.choice(sorted(self.cores))
            with contextlib.suppress(ProposalDropped):
                self.cores[member].propose_config(msgspec.msgpack.encode(self.some_change()))
            self.pump(member)

    def some_change(self) -> tuple[list[int], list[int]]:
        """Any voters and learners at all: whoever applies it goes there, jointly if it is far."""
        voters = self.rng.sample(self.everybody, self.rng.randrange(1, len(self.everybody) + 1))
        learners = [m for m in self.everybody if m not in voters and self.rng.random() < 0.5]
        return voters, learners

    def current(self) -> Membership:
        return self.members_at[max(self.members_at)] if self.members_at else self.membership

    def misfortune(self) -> None:
        for member, until in list(self.down.items()):
            if self.now >= until:
                del self.down[member]
                self.start(member)
        for member in sorted(self.cores):
            if self.rng.random() < self.faults.crash:
                self.crash(member)
            if self.rng.random() < self.faults.stopped_clock:
                self.no_ticks[member] = self.now + self.rng.randrange(20, 120)
        if len(self.disks) > 1 and self.rng.random() < self.faults.partition:
            members = list(self.everybody)
            left = set(self.rng.sample(members, self.rng.randrange(1, len(members))))
            one_way = self.rng.random() < 0.3
            for a in left:
                for b in set(members) - left:
                    self.cut.add((a, b))
                    if not one_way:
                        self.cut.add((b, a))
        if self.rng.random() < self.faults.heal:
            self.cut.clear()

    def maybe_compact(self, member: int) -> None:
        core = self.cores[member]
        if core.log.applied - core.log.snapshot.index < 25 or self.rng.random() > 0.2:
            return
        if core._writing is not None:  # the disk is busy: snapshots queue behind the log
            return
        term = core.log.term_at(core.log.applied)
        assert term is not None
        meta = SnapshotMeta(core.log.applied, term, core.membership)
        self.disks[member].keep_from(meta)
        core.compact(meta, keep=self.rng.choice([0, 5]))

    def calm(self) -> None:
        """No more faults from here on."""
        self.faults = Faults(0, 0, 2, 1, 0, 0, 1, 0)
        self.cut.clear()
        self.no_ticks.clear()

    # --- checking (paper, figure 3)

    def check(self, member: int) -> None:
        core = self.cores[member]
        if core.role is Role.LEADER:
            known = self.leaders.setdefault(core.term, member)
            assert known == member, f"two leaders in term {core.term}: {known} and {member}"
        self.check_log(member)

    def check_log(self, member: int) -> None:
        """Log Matching, Leader Completeness, and: committed means on a majority's disks."""
        log = self.cores[member].log
        previous: int | None = log.offset_term
        for entry in log.entries:
            known = self.seen.setdefault((entry.index, entry.term), (entry.data, previous))
            assert known == (entry.data, previous), f"logs differ at {entry.index}"
            previous = entry.term
        for index in range(log.offset + 1, log.commit + 1):
            entry = log.entries[index - log.offset - 1]
            first = self.committed.get(index)
            if first is None:
                self.commits += 1
                self.committed[index] = entry
                holders = [m for m, d in self.disks.items() if d.holds(index, entry.term)]
                counts = self.cores[member].membership
                assert has_quorum(counts, holders), f"{index} is committed on {holders}"
            else:
                assert first == entry, f"{index} was committed twice, differently"
        if self.cores[member].role is Role.LEADER and log.commit < max(self.committed, default=0):
            term = self.cores[member].term
            for index, entry in self.committed.items():
                if index > log.offset and entry.term < term:
                    assert log.term_at(index) == entry.term, f"leader {member} lacks {index}"

    def check_applied(self, member: int, ready: Ready) -> None:
        """State Machine Safety: same entry at the same index, in order, no gap."""
        for entry in ready.committed:
            assert entry.index == self.applied[member] + 1, f"{member} skipped an entry"
            self.applied[member] = entry.index
            assert self.committed.setdefault(entry.index, entry) == entry
            assert self.disks[member].holds(entry.index, entry.term), "applied before on disk"


def changed(current: Membership, data: bytes) -> Membership:
    """What a CONFIG entry makes of `current`; a refused change leaves it as it is."""
    if not data:
        return memberships.leave(current)
    voters, learners = msgspec.msgpack.decode(data, type=_Sets)
    try:
        return memberships.change(current, voters, learners)
    except memberships.UnsafeChange:
        return current
