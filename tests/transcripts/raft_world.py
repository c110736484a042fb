"""A few Raft cores on a table, moved by hand: the vocabulary of the `raft_*.txt` transcripts.

Each line of a block is a command. Disks are perfect and at once, unless `slow-disk` says otherwise;
messages wait until `deliver`. Output is everything that left a core, and how its state changed;
heartbeats only where they carry a round of reads, or after `show-heartbeats`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from master.kvstore.raft import progress
from master.kvstore.raft.core import Config, Core, ProposalDropped, Role, Write
from master.kvstore.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Message,
    MessageType,
    SnapshotMeta,
)
from tests.simulation.raft_cluster import changed

_HEARTBEATS = (MessageType.HEARTBEAT, MessageType.HEARTBEAT_RESPONSE)
_REQUESTS = (MessageType.PROPOSE, MessageType.READ_INDEX)


class World:
    def __init__(self) -> None:
        self.cores: dict[int, Core] = {}
        self.on_the_way: list[Message] = []
        self.cut: set[frozenset[int]] = set()
        self.slow: dict[int, Write | None] = {}  # slow disk: the write that waits
        self.shown: dict[int, str] = {}
        self.out: list[str] = []
        self.heartbeats = False

    def run(self, line: str) -> list[str]:
        verb, *words = line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        arguments = [word for word in words if "=" not in word]
        self.out = []
        getattr(self, verb.replace("-", "_"))(*arguments, **options)
        return self.out

    # --- commands

    def show_heartbeats(self) -> None:
        self.heartbeats = True

    def cluster(
        self, voters: str, learners: str = "", spares: str = "", uncommitted: str = str(64 << 20)
    ) -> None:
        membership = Membership(numbers(voters), frozenset(), numbers(learners))
        for member in sorted(membership.everyone() | numbers(spares)):
            self.cores[member] = Core(
                Config(member, max_uncommitted_bytes=int(uncommitted), max_message_bytes=64),
                random.Random(member),
                membership=membership,
            )
            self._show(member)

    def window(self, messages: str = "256", bytes: str = str(16 << 20)) -> None:
        """How much may be under way to a follower (restored by the test's monkeypatch)."""
        progress.MAX_INFLIGHT_MESSAGES = int(messages)
        progress.MAX_INFLIGHT_BYTES = int(bytes)

    def timeout(self, member: str) -> None:
        """Its clock runs until it does something about it."""
        core = self.cores[int(member)]
        before = core.role, core.term
        while (core.role, core.term) == before and not core.held:
            core.tick()
        self._pump(core.id)

    def tick(self, member: str, times: str = "1") -> None:
        for _ in range(int(times)):
            self.cores[int(member)].tick()
            self._pump(int(member))

    def lead(self, member: str) -> None:
        """Time out and win; nothing of it is printed but the end."""
        self.timeout(member)
        self.settle()
        assert self.cores[int(member)].role is Role.LEADER
        self.out = [self.shown[number] for number in self.cores]

    def settle(self) -> None:
        """Deliver until nothing moves, and let the leader tell what is committed; print the end."""
        for _ in range(2):
            self.deliver()
            for core in self.cores.values():
                if core.role is Role.LEADER:
                    self.tick(str(core.id))
        self.deliver()
        self.out = [self.shown[number] for number in self.cores]

    def deliver(self, *links: str, times: str = "1000") -> None:
        """All that is on the way (of `1->2 ...` only that), answers included."""
        left = int(times)
        while left and (chosen := [m for m in self.on_the_way if not links or link(m) in links]):
            message = chosen[0]
            self.on_the_way.remove(message)
            left -= 1
            if frozenset((message.sender, message.to)) in self.cut or message.to not in self.cores:
                self._say("lost ", message)
                self._report(message, delivered=False)
                continue
            self._say("hears", message)
            self.cores[message.to].step(message)
            self._report(message, delivered=True)
            self._pump(message.to)

    def drop(self, *links: str) -> None:
        for message in [m for m in self.on_the_way if not links or link(m) in links]:
            self.on_the_way.remove(message)
            self._say("lost ", message)
            self._report(message, delivered=False)

    def isolate(self, member: str) -> None:
        self.cut |= {frozenset((int(member), other)) for other in self.cores}

    def heal(self) -> None:
        self.cut.clear()

    def restart(self, member: str) -> None:
        """With what its disk holds. Its clock starts anew, and it knows of no leader."""
        core = self.cores[int(member)]
        snapshot = core.log.snapshot if core.log.snapshot.index else None
        self.cores[core.id] = Core(
            core.config,
            random.Random(core.id),
            membership=core.membership,
            hard_state=HardState(core.term, core.vote, core.log.commit),
            snapshot=snapshot,
            entries=core.log.entries,
        )
        self.on_the_way = [m for m in self.on_the_way if core.id not in (m.sender, m.to)]
        self._pump(core.id)

    def reach(self, member: str, *others: str) -> None:
        """It can talk to these; how long it still waits for a leader."""
        core = self.cores[int(member)]
        core.reached({core.id, *map(int, others)})
        self.out.append(f"{member} waits for {core.timeout - core.elapsed} more ticks")

    def propose(self, member: str, *payloads: str, bytes: str = "0") -> None:
        data = [payload.encode() for payload in payloads] or [b"x" * int(bytes)]
        try:
            self.cores[int(member)].propose(data)
        except ProposalDropped as dropped:
            self.out.append(f"dropped: {dropped}")
        self._pump(int(member))

    def change(self, member: str, voters: str, learners: str = "") -> None:
        payload = msgspec.msgpack.encode((sorted(numbers(voters)), sorted(numbers(learners))))
        try:
            self.cores[int(member)].propose_config(payload)
        except ProposalDropped as dropped:
            self.out.append(f"dropped: {dropped}")
        self._pump(int(member))

    def read(self, member: str, *contexts: str) -> None:
        for context in contexts:
            self.cores[int(member)].read_index(context.encode())
        self._pump(int(member))

    def transfer(self, member: str, to: str) -> None:
        taken = self.cores[int(member)].transfer_leadership(int(to))
        self.out.append("taken" if taken else "refused")
        self._pump(int(member))

    def compact(self, member: str, keep: str = "0") -> None:
        core = self.cores[int(member)]
        term = core.log.term_at(core.log.applied)
        assert term is not None
        core.compact(SnapshotMeta(core.log.applied, term, core.membership), int(keep))
        self.out.append(
            f"{member} has a snapshot at {core.log.applied}, log from {core.log.offset + 1}"
        )

    def slow_disk(self, member: str) -> None:
        self.slow[int(member)] = None

    def disk(self, member: str) -> None:
        """The disk has done what it was asked to."""
        write = self.slow.pop(int(member))
        assert write is not None
        self._written(int(member), write)
        self._pump(int(member))

    # --- inside

    def _pump(self, member: int) -> None:
        core = self.cores[member]
        while True:
            ready = core.ready()
            if ready.write is None and not (ready.messages or ready.committed or ready.reads):
                break
            self._send(ready.messages)
            for entry in ready.committed:
                self._apply(core, entry)
            for read in ready.reads:
                self.out.append(f"{member} may read {read.context.decode()} at {read.index}")
            if ready.write is not None and member in self.slow:
                self.slow[member] = ready.write
            elif ready.write is not None:
                self._written(member, ready.write)
        self._show(member)

    def _written(self, member: int, write: Write) -> None:
        self._send(write.messages)
        self.cores[member].advance(write)

    def _send(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            self._say("sends", message)
            self.on_the_way.append(message)

    def _say(self, verb: str, message: Message) -> None:
        if self.heartbeats or message.context or message.type not in _HEARTBEATS:
            self.out.append(f"{verb} {described(message)}")

    def _apply(self, core: Core, entry: Entry) -> None:
        self.out.append(f"{core.id} applies {shown(entry)}")
        if entry.kind is EntryKind.CONFIG:
            core.apply_membership(changed(core.membership, entry.data))

    def _report(self, message: Message, *, delivered: bool) -> None:
        if message.type is MessageType.SNAPSHOT:
            self.cores[message.sender].report_snapshot(message.to, delivered=delivered)
            self._pump(message.sender)

    def _show(self, member: int) -> None:
        """The state, when it is another one than before."""
        state = "\n".join(described_core(self.cores[member]))
        if self.shown.get(member) != state:
            self.shown[member] = state
            self.out.append(state)


def numbers(text: str) -> frozenset[int]:
    return frozenset(int(number) for number in text.split(",") if number)


def link(message: Message) -> str:
    return f"{message.sender}->{message.to}"


def shown(entry: Entry) -> str:
    if entry.kind is EntryKind.CONFIG:
        data = "change" if entry.data else "end-of-change"
    elif len(entry.data) < 12:
        data = entry.data.decode() or "empty"
    else:
        data = f"{len(entry.data)}-bytes"
    return f"{entry.index}/{entry.term}:{data}"


def described(message: Message) -> str:
    """Only the fields that say something."""
    return " ".join([link(message), message.type.name, *_fields(message)])


def _fields(message: Message) -> Iterator[str]:
    if message.type not in _REQUESTS:
        yield f"term={message.term}"
    if message.index or message.log_term:
        yield f"at={message.index}/{message.log_term}"
    if message.commit:
        yield f"commit={message.commit}"
    if message.reject:
        yield "rejected"
    if message.hint:
        yield f"hint={message.hint}"
    if message.context:
        yield (
            f"round={int.from_bytes(message.context, 'big')}"
            if (message.type in _HEARTBEATS)
            else f"context={message.context.decode()}"
        )
    if message.entries:
        yield "[" + " ".join(map(shown, message.entries)) + "]"
    if message.snapshot is not None:
        yield f"snapshot={message.snapshot.index}/{message.snapshot.term}"


def described_core(core: Core) -> Iterator[str]:
    log = core.log
    counts = core.membership
    who = ",".join(map(str, sorted(counts.voters)))
    if counts.outgoing:
        who += f" and {','.join(map(str, sorted(counts.outgoing)))}"
    if counts.learners:
        who += f" learners {','.join(map(str, sorted(counts.learners)))}"
    yield (
        f"{core.id} is {core.role.value} term={core.term} leader={core.leader or 'none'}"
        f" last={log.last_index}/{log.last_term} commit={log.commit} voters={who}"
    )
