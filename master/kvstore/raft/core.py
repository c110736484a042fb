"""The Raft state machine of one member, as its driver sees it.

`Core` has no clock, socket, disk or thread. Time is `tick()`, chance is the `rng` handed in,
everything else is `step()`, `propose()` and `read_index()`. What must be done about it comes out
of `ready()`; the driver hands the `Write` in it back to `advance()` once it is on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from master.kvstore.raft import election, replication
from master.kvstore.raft.heartbeat import tick_leader
from master.kvstore.raft.membership import apply_membership, end_joint_change
from master.kvstore.raft.messages import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    Message,
    SnapshotMeta,
)
from master.kvstore.raft.proposing import ProposalDropped, propose
from master.kvstore.raft.readindex import ask_to_read
from master.kvstore.raft.reads import Read
from master.kvstore.raft.snapshots import snapshot_sent
from master.kvstore.raft.state import Config, Role, State, Write
from master.kvstore.raft.step import step
from master.kvstore.raft.transfer import begin_transfer


class Ready(msgspec.Struct, frozen=True):
    """Work for the driver. Only `write` waits for the disk; at most one is out at a time."""

    messages: tuple[Message, ...] = ()  # send now
    committed: tuple[Entry, ...] = ()  # apply now, in this order
    reads: tuple[Read, ...] = ()  # serve once `index` is applied
    write: Write | None = None


class Core(State):
    """One member's part in the agreement on the log."""

    # --- what comes in

    def tick(self) -> None:
        """One unit of time has passed."""
        self.elapsed += 1
        if self.role is Role.LEADER:
            tick_leader(self)
        elif self.role is Role.CANDIDATE and self.saved != (self.term, self.vote):
            self.elapsed = 0  # nobody was asked yet: the wait for votes begins after the disk's
        elif self.elapsed >= self.timeout and self.membership.votes(self.id):
            election.campaign(self, pre_vote=True)

    def step(self, message: Message) -> None:
        """A message has come in. Any order, any number of times, from any time."""
        step(self, message)

    def propose(self, payloads: Sequence[bytes]) -> None:
        """Append to the log, here or through the leader. ProposalDropped: surely not done."""
        propose(self, tuple(Entry(0, 0, payload) for payload in payloads))

    def propose_config(self, payload: bytes) -> None:
        """Propose a membership change. What it says is the driver's business: it hands the
        outcome to `apply_membership`. Dropped while another one is under way (4.1)."""
        propose(self, (Entry(0, 0, payload, EntryKind.CONFIG),))

    def apply_membership(self, membership: Membership) -> None:
        """A CONFIG entry was applied: from now on these count (paper, section 6)."""
        apply_membership(self, membership)

    def read_index(self, context: bytes) -> None:
        """Ask for an index whose application makes a local read linearizable.

        The answer appears in `Ready.reads`; it may get lost, then ask again.
        """
        ask_to_read(self, context)

    def transfer_leadership(self, to: int) -> bool:
        """Hand leadership to `to` once its log is complete (dissertation 3.10)."""
        return begin_transfer(self, to)

    def reached(self, members: Collection[int]) -> None:
        """These can be talked to now, this member included. Counts once after a start."""
        election.advance_first_wait(self, members)

    def suspect_leader(self) -> None:
        """The leader's process is known to be gone: stop waiting for its heartbeats."""
        election.suspect_leader(self)

    def report_snapshot(self, to: int, *, delivered: bool) -> None:
        """The transport's word on a snapshot that it was told to send."""
        snapshot_sent(self, to, delivered=delivered)

    def report_unreachable(self, to: int) -> None:
        """Messages to a member were dropped."""
        replication.lost_contact(self, to)

    def compact(self, snapshot: SnapshotMeta, keep: int) -> None:
        """`snapshot` is on disk; forget all but the last `keep` entries that it covers."""
        self.log.compact(snapshot, keep)

    # --- what comes out

    def ready(self, *, tell_commits: bool = True) -> Ready:
        """Everything there is to do now.

        Without `tell_commits` followers hear of a commit only by what is sent anyway, unless one
        of their own proposals is in it. The driver must then ask again soon, `untold_commits`.
        """
        if self.role is Role.LEADER:
            end_joint_change(self)
            replication.send_appends(self, tell_commits=tell_commits)
        write = self._next_write() if self.writing is None else None
        if self.held and self.writing is None:
            self.now.extend(self.held)
            self.held = []
        messages, self.now = tuple(self.now), []
        reads, self.read_states = tuple(self.read_states), []
        committed = self.log.take_committed(self.config.max_message_bytes)
        return Ready(messages, committed, reads, write)

    def untold_commits(self) -> bool:
        """Whether followers could be told of a commit."""
        return replication.untold_commits(self)

    def _next_write(self) -> Write | None:
        entries = self.log.unstable(16 * self.config.max_message_bytes)
        changed = self.saved != (self.term, self.vote)
        if not entries and not changed and self.pending_snapshot is None:
            return None
        written = entries[-1].index if entries else self.log.stable
        self.writing = Write(
            HardState(self.term, self.vote, min(self.log.commit, written)),
            entries,
            self.pending_snapshot,
            tuple(self.held),
        )
        self.held, self.pending_snapshot = [], None
        return self.writing

    def advance(self, write: Write) -> None:
        """`write` is on disk."""
        assert write is self.writing, "writes end in the order in which they were handed out"
        self.writing = None
        self.saved = (write.hard_state.term, write.hard_state.vote)
        if write.entries:
            self.log.stable_to(write.entries[-1].index, write.entries[-1].term)
        if self.role is Role.CANDIDATE and self.saved == (self.term, self.vote):
            election.count_own_vote(self)
        if self.role is Role.LEADER:
            replication.own_disk_written(self)


__all__ = ["Config", "Core", "ProposalDropped", "Read", "Ready", "Role", "Write"]
