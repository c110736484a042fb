"""What one member knows (paper, figure 2: "State"), and the changes of role and term.

The rules are functions of this state, a module for each subject; `step.py` says which message is
for which rule. A message that promises something (a term, a vote, entries) is not sent but held
until that is on disk.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from master.kvstore.raft.log import RaftLog
from master.kvstore.raft.messages import (
    NOBODY,
    Entry,
    HardState,
    Membership,
    Message,
    SnapshotMeta,
)
from master.kvstore.raft.progress import Progress
from master.kvstore.raft.reads import Read, ReadQueue


class Role(enum.Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Config:
    """`election_ticks` is the least election timeout; the actual one is up to twice as long."""

    id: int
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    max_message_bytes: int = 1 << 20
    max_uncommitted_bytes: int = 64 << 20
    initial_tick_advance: bool = True  # etcd: --initial-election-tick-advance


class Write(msgspec.Struct, frozen=True):
    """Make all of this durable, then send `messages`, then call `Core.advance(write)`."""

    hard_state: HardState
    entries: tuple[Entry, ...] = ()
    snapshot: SnapshotMeta | None = None
    messages: tuple[Message, ...] = ()


class State:
    def __init__(
        self,
        config: Config,
        rng: Random,
        *,
        membership: Membership,
        hard_state: HardState | None = None,
        snapshot: SnapshotMeta | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        hard_state = hard_state or HardState()
        snapshot = snapshot or SnapshotMeta(membership=membership)
        self.id = config.id
        self.config = config
        self.rng = rng
        # Persistent, with the log's entries.
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.log = RaftLog(snapshot, entries, hard_state.commit)
        self.membership = membership
        # Of the role.
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.elapsed = 0  # ticks since a leader, or a candidate that got the vote, was heard of
        self.timeout = 0
        self.may_advance = config.initial_tick_advance  # until a majority was within reach once
        self.votes: dict[int, bool] = {}
        # Of a leader.
        self.progress: dict[int, Progress] = {}
        self.heartbeat_elapsed = 0
        self.uncommitted_bytes = 0
        self.pending_config = 0  # index of the last CONFIG entry that may not be applied yet
        self.transferee = NOBODY
        self.reads = ReadQueue()
        # Towards the driver.
        self.saved = (self.term, self.vote)
        self.pending_snapshot: SnapshotMeta | None = None
        self.writing: Write | None = None
        self.now: list[Message] = []  # may leave before the disk has anything
        self.held: list[Message] = []  # promises: leave after the state they rest on is on disk
        self.read_states: list[Read] = []
        self.reset_timer()

    # --- roles

    def become(self, role: Role, term: int, leader: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NOBODY
        self.role = role
        self.leader = leader
        self.transferee = NOBODY
        self.progress = {}
        self.votes = {}
        self.uncommitted_bytes = 0
        self.reads.reset()
        self.reset_timer()

    def become_follower(self, term: int, leader: int) -> None:
        self.become(Role.FOLLOWER, term, leader)

    def reset_timer(self) -> None:
        """A new random timeout, so that rarely two members campaign at once (paper, 5.2)."""
        self.elapsed = 0
        self.heartbeat_elapsed = 0
        least = self.config.election_ticks
        self.timeout = self.rng.randrange(least, 2 * least)
        if self.membership.voters == {self.id} and not self.membership.outgoing:
            self.timeout = 1  # there is nobody to wait for

    # --- a leader's log

    def append(self, entries: Sequence[Entry]) -> None:
        """Append to the own log. Own `match` follows when it is on disk (dissertation 10.2.1)."""
        self.log.append(entries)

    # --- out

    def send_now(self, message: Message) -> None:
        self.now.append(message)

    def hold(self, message: Message) -> None:
        """Send only after what it rests on (term, vote, entries) is on disk (paper, figure 2)."""
        self.held.append(message)
