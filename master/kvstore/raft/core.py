"""The Raft state machine of one member.

`Core` has no clock, socket, disk or thread. Time is `tick()`, chance is the `rng` handed in,
everything else is `step()`, `propose()` and `read_index()`. What must be done about it comes out
of `ready()`; the driver hands the `Write` in it back to `advance()` once it is on disk.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from master.kvstore.raft.log import RaftLog
from master.kvstore.raft.messages import (
    NOBODY,
    Entry,
    EntryKind,
    HardState,
    Membership,
    Message,
    MessageType,
    SnapshotMeta,
)
from master.kvstore.raft.progress import Flow, Progress
from master.kvstore.raft.quorum import committed_index, has_quorum, vote_result
from master.kvstore.raft.reads import Read, ReadQueue

_TRANSFER = b"transfer"  # a vote request's context: the leader itself asked for this election


class Role(enum.Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class ProposalDropped(Exception):
    """The proposal was not appended: no leader is known, or too much is uncommitted."""


@dataclass(frozen=True, slots=True)
class Config:
    """`election_ticks` is the least election timeout; the actual one is up to twice as long."""

    id: int
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    max_message_bytes: int = 1 << 20
    max_uncommitted_bytes: int = 64 << 20


class Write(msgspec.Struct, frozen=True):
    """Make all of this durable, then send `messages`, then call `Core.advance(write)`."""

    hard_state: HardState
    entries: tuple[Entry, ...] = ()
    snapshot: SnapshotMeta | None = None
    messages: tuple[Message, ...] = ()


class Ready(msgspec.Struct, frozen=True):
    """Work for the driver. Only `write` waits for the disk; at most one is out at a time."""

    messages: tuple[Message, ...] = ()  # send now
    committed: tuple[Entry, ...] = ()  # apply now, in this order
    reads: tuple[Read, ...] = ()  # serve once `index` is applied
    write: Write | None = None


class Core:
    """One member's part in the agreement on the log."""

    def __init__(
        self,
        config: Config,
        rng: random.Random,
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
        self.membership = membership
        self.log = RaftLog(snapshot, entries, hard_state.commit)
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.progress: dict[int, Progress] = {}
        self.transferee = NOBODY
        self._rng = rng
        self._reads = ReadQueue()
        self._votes: dict[int, bool] = {}
        self._elapsed = 0
        self._heartbeat_elapsed = 0
        self._timeout = 0
        self._uncommitted_bytes = 0
        self._pending_config = 0  # index of the last CONFIG entry that may not be applied yet
        self._saved = (self.term, self.vote)
        self._pending_snapshot: SnapshotMeta | None = None
        self._writing: Write | None = None
        self._now: list[Message] = []  # may leave before the disk has anything
        self._held: list[Message] = []  # promises: leave after the state they rest on is on disk
        self._read_states: list[Read] = []
        self._reset_timer()

    # --- the driver's side

    def tick(self) -> None:
        """One unit of time has passed."""
        self._elapsed += 1
        if self.role is Role.LEADER:
            self._tick_leader()
        elif self.role is Role.CANDIDATE and self._saved != (self.term, self.vote):
            self._elapsed = 0  # nobody was asked yet: the wait for votes begins after the disk's
        elif self._elapsed >= self._timeout and self.membership.votes(self.id):
            self._campaign(pre_vote=True)

    def propose(self, payloads: Sequence[bytes]) -> None:
        """Append to the log, here or through the leader. ProposalDropped: surely not done."""
        self._propose(tuple(Entry(0, 0, payload) for payload in payloads))

    def propose_config(self, payload: bytes) -> None:
        """Propose a membership change. What it says is the driver's business: it hands the
        outcome to `apply_membership`. Dropped while another one is under way (4.1)."""
        self._propose((Entry(0, 0, payload, EntryKind.CONFIG),))

    def _propose(self, entries: tuple[Entry, ...]) -> None:
        if self.role is Role.LEADER:
            self._append_proposals(entries)
        elif self.leader == NOBODY:
            raise ProposalDropped("no leader")
        else:
            self._send_now(Message(MessageType.PROPOSE, self.leader, self.id, entries=entries))

    def read_index(self, context: bytes) -> None:
        """Ask for an index whose application makes a local read linearizable.

        The answer appears in `Ready.reads`; it may get lost, then ask again.
        """
        if self.role is Role.LEADER:
            self._enqueue_read(Read(self.id, context))
        elif self.leader != NOBODY:
            self._send_now(Message(MessageType.READ_INDEX, self.leader, self.id, context=context))

    def transfer_leadership(self, to: int) -> bool:
        """Hand leadership to `to` once its log is complete (dissertation 3.10)."""
        if self.role is not Role.LEADER or to == self.id or not self.membership.votes(to):
            return False
        self.transferee = to
        self._elapsed = 0
        self._continue_transfer()
        return True

    def suspect_leader(self) -> None:
        """The leader's process is known to be gone: stop waiting for its heartbeats.

        Only shortens the wait. PreVote still keeps a wrong suspicion from unseating anybody.
        """
        if self.role is Role.FOLLOWER and self.leader != NOBODY:
            # Everybody notices at once: taking turns by id avoids a split vote.
            others = sorted(self.membership.voters - {self.leader})
            turn = others.index(self.id) if self.id in others else len(others)
            self._timeout = self.config.election_ticks + 1 + 2 * turn
            # The lease of who is gone ends now: whoever asks first must not be refused for it.
            self._elapsed = max(self._elapsed, self.config.election_ticks)

    def report_snapshot(self, to: int, *, delivered: bool) -> None:
        """The transport's word on a snapshot that it was told to send."""
        progress = self.progress.get(to)
        if self.role is not Role.LEADER or progress is None or progress.flow is not Flow.SNAPSHOT:
            return
        if delivered:
            progress.become_probe()
        else:
            progress.snapshot_failed()
        progress.probe_sent = True  # the next heartbeat's answer opens it again

    def report_unreachable(self, to: int) -> None:
        progress = self.progress.get(to)
        if progress is not None and progress.flow is Flow.REPLICATE:
            progress.become_probe()

    def compact(self, snapshot: SnapshotMeta, keep: int) -> None:
        """`snapshot` is on disk; forget all but the last `keep` entries that it covers."""
        self.log.compact(snapshot, keep)

    def apply_membership(self, membership: Membership) -> None:
        """A CONFIG entry was applied: from now on these count (paper, section 6)."""
        self.membership = membership
        if self.role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
            self._become_follower(self.term, NOBODY)  # the votes so far were another question's
        if self.role is not Role.LEADER:
            return
        if not membership.votes(self.id):
            self._leave_office()
            return
        for member in sorted(self.progress.keys() - membership.everyone()):
            # The last that they hear: their answer might have been to come before they were told.
            self._send_append(member, self.progress[member], even_empty=True)
        old, self.progress = self.progress, {}
        for member in sorted(membership.everyone()):
            # A new member counts as heard of, or it would cost the leader its quorum at once.
            fresh = Progress(next=self.log.last_index + 1, recent_active=True)
            self.progress[member] = old.get(member) or fresh
        if not membership.votes(self.transferee):
            self.transferee = NOBODY
        self._maybe_commit()

    def _leave_office(self) -> None:
        """The leader itself has no vote any more: tell what is committed, hand over, step down
        (dissertation 4.2.2)."""
        heirs = {m: p for m, p in self.progress.items() if m in self.membership.voters}
        for member, progress in heirs.items():
            self._send_append(member, progress, even_empty=True)
        heir = max(sorted(heirs), key=lambda member: heirs[member].match)
        if heirs[heir].match == self.log.last_index:
            self._send_now(Message(MessageType.TIMEOUT_NOW, heir, self.id, self.term))
        self._become_follower(self.term, NOBODY)

    def _end_joint_change(self) -> None:
        """Once the joint membership counts, its leader proposes the way out of it (4.3)."""
        if self.membership.outgoing and self._pending_config <= self.log.applied:
            self._pending_config = self.log.last_index + 1
            self._append([Entry(self.term, self._pending_config, b"", EntryKind.CONFIG)])

    def ready(self, *, tell_commits: bool = True) -> Ready:
        """Everything there is to do now.

        Without `tell_commits` followers hear of a commit only by what is sent anyway, unless one
        of their own proposals is in it. The driver must then ask again soon, `untold_commits`.
        """
        if self.role is Role.LEADER:
            self._end_joint_change()
            self._send_appends(tell_commits=tell_commits)
        write = self._next_write() if self._writing is None else None
        if self._held and self._writing is None:
            self._now.extend(self._held)
            self._held = []
        messages, self._now = tuple(self._now), []
        reads, self._read_states = tuple(self._read_states), []
        committed = self.log.take_committed(8 * self.config.max_message_bytes)
        return Ready(messages, committed, reads, write)

    def advance(self, write: Write) -> None:
        """`write` is on disk."""
        assert write is self._writing, "writes end in the order in which they were handed out"
        self._writing = None
        self._saved = (write.hard_state.term, write.hard_state.vote)
        if write.entries:
            self.log.stable_to(write.entries[-1].index, write.entries[-1].term)
        if self.role is Role.CANDIDATE and self._saved == (self.term, self.vote):
            self._count_own_vote()
        if self.role is Role.LEADER:
            self.progress[self.id].acknowledged(self.log.stable)
            self._maybe_commit()

    def _count_own_vote(self) -> None:
        """The own vote counts once it is on disk, like any other (paper, figure 2). The only voter
        wins by it alone: had it led before, a crash could let it lead the same term twice, and
        learners keep what it sent the first time. The simulation found that."""
        if vote_result(self.membership, self._votes):
            self._won()

    def _next_write(self) -> Write | None:
        entries = self.log.unstable(16 * self.config.max_message_bytes)
        changed = self._saved != (self.term, self.vote)
        if not entries and not changed and self._pending_snapshot is None:
            return None
        self._writing = Write(
            HardState(self.term, self.vote, min(self.log.commit, self._write_end(entries))),
            entries,
            self._pending_snapshot,
            tuple(self._held),
        )
        self._held, self._pending_snapshot = [], None
        return self._writing

    def _write_end(self, entries: Sequence[Entry]) -> int:
        return entries[-1].index if entries else self.log.stable

    # --- time

    def _reset_timer(self) -> None:
        """A new random timeout, so that rarely two members campaign at once (paper, 5.2)."""
        self._elapsed = 0
        self._heartbeat_elapsed = 0
        least = self.config.election_ticks
        self._timeout = self._rng.randrange(least, 2 * least)
        if self.membership.voters == {self.id} and not self.membership.outgoing:
            self._timeout = 1  # there is nobody to wait for

    def _tick_leader(self) -> None:
        if self._elapsed >= self.config.election_ticks:
            self._elapsed = 0
            self.transferee = NOBODY  # it did not happen in time: take proposals again
            self._check_quorum()
            if self.role is not Role.LEADER:
                return
        self._heartbeat_elapsed += 1
        if self._heartbeat_elapsed >= self.config.heartbeat_ticks:
            self._heartbeat_elapsed = 0
            self._broadcast_heartbeat()

    def _check_quorum(self) -> None:
        """A leader that hears from no majority steps down (dissertation 6.2)."""
        active = {member for member, p in self.progress.items() if p.recent_active}
        if not has_quorum(self.membership, active | {self.id}):
            self._become_follower(self.term, NOBODY)
            return
        for progress in self.progress.values():
            progress.recent_active = False

    # --- roles

    def _become(self, role: Role, term: int, leader: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NOBODY
        self.role = role
        self.leader = leader
        self.transferee = NOBODY
        self.progress = {}
        self._votes = {}
        self._uncommitted_bytes = 0
        self._reads.reset()
        self._reset_timer()

    def _become_follower(self, term: int, leader: int) -> None:
        self._become(Role.FOLLOWER, term, leader)

    def _become_leader(self) -> None:
        self._become(Role.LEADER, self.term, self.id)
        for member in self.membership.everyone():
            self.progress[member] = Progress(next=self.log.last_index + 1)
        self.progress[self.id].acknowledged(self.log.stable)
        # A change by an earlier leader may be among what is not applied yet.
        self._pending_config = self.log.last_index
        # Only an entry of its own term tells a leader what is committed (paper, 5.4.2).
        self._append([Entry(self.term, self.log.last_index + 1)])

    def _campaign(self, *, pre_vote: bool, context: bytes = b"") -> None:
        """Ask for votes; first whether one would get them (PreVote, dissertation 9.6)."""
        if self.log.unapplied_config():
            # It would count votes by a membership that is known to be over. Without this, changes
            # that count when applied would not be safe (etcd-io/raft checks the same).
            self._reset_timer()
            return
        if pre_vote:
            self._become(Role.PRE_CANDIDATE, self.term, NOBODY)
            kind, term = MessageType.PRE_VOTE, self.term + 1
        else:
            self._become(Role.CANDIDATE, self.term + 1, NOBODY)
            self.vote = self.id
            kind, term = MessageType.VOTE, self.term
        self._votes = {self.id: True}
        if pre_vote and vote_result(self.membership, self._votes):
            self._won()  # nobody else votes; who stands alone leads once its vote is on disk
            return
        for member in sorted(self.membership.everyone() - {self.id}):
            if self.membership.votes(member):
                self._hold(
                    Message(
                        kind,
                        member,
                        self.id,
                        term,
                        self.log.last_index,
                        self.log.last_term,
                        context=context,
                    )
                )

    def _won(self) -> None:
        if self.role is Role.PRE_CANDIDATE:
            self._campaign(pre_vote=False)
        else:
            self._become_leader()

    # --- messages

    def step(self, message: Message) -> None:
        """A message has come in. Any order, any number of times, from any time."""
        if message.type in (MessageType.PROPOSE, MessageType.READ_INDEX):
            self._step_request(message)
        elif message.term > self.term:
            self._step_newer(message)
        elif message.term < self.term:
            self._step_older(message)
        else:
            self._step_current(message)

    def _step_request(self, message: Message) -> None:
        """A follower's request. Whoever does not lead drops it: the asker asks again."""
        if self.role is not Role.LEADER:
            return
        if message.type is MessageType.READ_INDEX:
            self._enqueue_read(Read(message.sender, message.context))
            return
        try:
            self._append_proposals(message.entries)
        except ProposalDropped:
            return
        if message.sender in self.progress:
            self.progress[message.sender].awaited = self.log.last_index

    def _in_lease(self) -> bool:
        """A leader was heard of within the least timeout: nobody else may unseat it
        (dissertation 4.2.3 and 6.2)."""
        return self.leader != NOBODY and self._elapsed < self.config.election_ticks

    def _step_newer(self, message: Message) -> None:
        kind = message.type
        if kind in (MessageType.VOTE, MessageType.PRE_VOTE):
            if self._in_lease() and message.context != _TRANSFER:
                return
            if kind is MessageType.PRE_VOTE:
                self._answer_vote(message)  # a question about the future changes no term
                return
        elif kind is MessageType.PRE_VOTE_RESPONSE and not message.reject:
            self._count_vote(message)  # granted for the term that we would start
            return
        self._become_follower(message.term, message.sender if kind in _FROM_LEADER else NOBODY)
        self._step_current(message)

    def _step_older(self, message: Message) -> None:
        if message.type in (MessageType.APPEND, MessageType.HEARTBEAT):
            # A leader of the past, maybe one cut off for a while, learns the term from this.
            self._hold(Message(MessageType.APPEND_RESPONSE, message.sender, self.id, self.term))
        elif message.type is MessageType.PRE_VOTE:
            self._hold(
                Message(
                    MessageType.PRE_VOTE_RESPONSE, message.sender, self.id, self.term, reject=True
                )
            )

    def _step_current(self, message: Message) -> None:
        kind = message.type
        if kind in (MessageType.VOTE, MessageType.PRE_VOTE):
            self._answer_vote(message)
        elif kind in (MessageType.VOTE_RESPONSE, MessageType.PRE_VOTE_RESPONSE):
            self._count_vote(message)
        elif kind is MessageType.TIMEOUT_NOW:
            if self.role is Role.FOLLOWER and self.membership.votes(self.id):
                self._campaign(pre_vote=False, context=_TRANSFER)
        elif kind is MessageType.READ_INDEX_RESPONSE:
            self._read_states.append(Read(self.id, message.context, message.index))
        elif self.role is Role.LEADER:
            self._step_leader(message)
        elif kind in _FROM_LEADER:
            if self.role is not Role.FOLLOWER or self.leader != message.sender:
                self._become_follower(message.term, message.sender)
            self._elapsed = 0
            _FROM_LEADER[kind](self, message)

    # --- votes (paper, 5.2 and 5.4.1)

    def _answer_vote(self, message: Message) -> None:
        pre_vote = message.type is MessageType.PRE_VOTE
        free = (
            self.vote == message.sender
            or (self.vote == NOBODY and self.leader == NOBODY)
            or (pre_vote and message.term > self.term)
        )
        granted = free and self.log.up_to_date(message.index, message.log_term)
        kind = MessageType.PRE_VOTE_RESPONSE if pre_vote else MessageType.VOTE_RESPONSE
        term = message.term if granted else self.term
        if granted and not pre_vote:
            self._elapsed = 0
            self.vote = message.sender
        # A refusal says what is committed: somebody who needs the votes of a membership that is
        # over, because it never heard of the end, would otherwise ask in vain for ever.
        commit = 0 if granted else self.log.commit
        self._hold(
            Message(
                kind,
                message.sender,
                self.id,
                term,
                log_term=self.log.term_at(commit) or 0,
                commit=commit,
                reject=not granted,
            )
        )

    def _count_vote(self, message: Message) -> None:
        wanted = {
            MessageType.PRE_VOTE_RESPONSE: Role.PRE_CANDIDATE,
            MessageType.VOTE_RESPONSE: Role.CANDIDATE,
        }[message.type]
        if self.role is not wanted:
            return
        if not message.reject and wanted is Role.PRE_CANDIDATE and message.term != self.term + 1:
            return  # an answer to a campaign of an earlier term
        if message.commit and self.log.term_at(message.commit) == message.log_term:
            self.log.commit_to(message.commit)  # the same entry (Log Matching), so it is committed
        self._votes.setdefault(message.sender, not message.reject)
        result = vote_result(self.membership, self._votes)
        if result is True:
            self._won()
        elif result is False:
            self._become_follower(self.term, NOBODY)

    # --- following (paper, 5.3)

    def _handle_append(self, message: Message) -> None:
        if message.index < self.log.commit:
            self._acknowledge(message.sender, self.log.commit)
            return
        matched = self.log.try_append(message.index, message.log_term, message.entries)
        if matched is None:
            hint = self.log.agreement_hint(message.index, message.log_term)
            self._hold(
                Message(
                    MessageType.APPEND_RESPONSE,
                    message.sender,
                    self.id,
                    self.term,
                    message.index,
                    self.log.term_at(hint) or 0,
                    reject=True,
                    hint=hint,
                )
            )
            return
        self.log.commit_to(min(message.commit, matched))
        self._acknowledge(message.sender, matched)

    def _acknowledge(self, leader: int, index: int) -> None:
        self._hold(Message(MessageType.APPEND_RESPONSE, leader, self.id, self.term, index))

    def _handle_commit(self, message: Message) -> None:
        self.log.commit_to(min(message.commit, self.log.last_index))

    def _handle_heartbeat(self, message: Message) -> None:
        self._handle_commit(message)
        answer = Message(
            MessageType.HEARTBEAT_RESPONSE,
            message.sender,
            self.id,
            self.term,
            context=message.context,
        )
        # It promises nothing but the term, so a slow disk need not delay it.
        if self._saved[0] == self.term:
            self._send_now(answer)
        else:
            self._hold(answer)

    def _handle_snapshot(self, message: Message) -> None:
        """InstallSnapshot (paper, section 7). The bytes are already here, says the driver."""
        meta = message.snapshot
        assert meta is not None
        if meta.index > self.log.commit:
            if self.log.term_at(meta.index) == meta.term:
                self.log.commit_to(meta.index)  # the log has it all: only the commit was behind
            else:
                self.log.restore(meta)
                self.membership = meta.membership
                self._pending_snapshot = meta
        self._acknowledge(message.sender, self.log.commit)

    # --- leading

    def _append_proposals(self, entries: Sequence[Entry]) -> None:
        if self.transferee != NOBODY:
            raise ProposalDropped("leadership is being transferred")
        changes = [at for at, entry in enumerate(entries) if entry.kind is EntryKind.CONFIG]
        if changes and not self._may_change_membership(len(changes)):
            raise ProposalDropped("a membership change is under way")
        size = sum(len(entry.data) for entry in entries)
        # Not the paper's, but etcd's: without a majority the log would grow without bound. One
        # that is too large alone is taken, or it could never be.
        if self._uncommitted_bytes and (
            self._uncommitted_bytes + size > self.config.max_uncommitted_bytes
        ):
            raise ProposalDropped("too much is uncommitted")
        self._uncommitted_bytes += size
        first = self.log.last_index + 1
        if changes:
            self._pending_config = first + changes[0]
        self._append(
            [
                Entry(self.term, first + offset, entry.data, entry.kind)
                for offset, entry in enumerate(entries)
            ]
        )

    def _may_change_membership(self, changes: int) -> bool:
        """One change at a time, and only after an entry of the own term is committed
        (dissertation 4.1, and the bug found in it in 2015)."""
        return (
            changes == 1
            and self._pending_config <= self.log.applied
            and not self.membership.outgoing
            and self.log.term_at(self.log.commit) == self.term
        )

    def _append(self, entries: Sequence[Entry]) -> None:
        """Append to the own log. Own `match` follows when it is on disk (dissertation 10.2.1)."""
        self.log.append(entries)

    def _step_leader(self, message: Message) -> None:
        progress = self.progress.get(message.sender)
        if progress is None:
            return
        progress.recent_active = True
        if message.type is MessageType.APPEND_RESPONSE:
            if message.reject:
                self._append_refused(progress, message)
            else:
                self._append_accepted(progress, message)
        elif message.type is MessageType.HEARTBEAT_RESPONSE:
            progress.heartbeat_answered()
            if progress.match < self.log.last_index:
                self._send_append(message.sender, progress, even_empty=True)
            self._reads.acknowledge(message.sender, message.context)
            self._release_reads()

    def _append_refused(self, progress: Progress, message: Message) -> None:
        hint = message.hint
        if message.log_term:
            # Skip a whole term at a time, as section 5.3's last paragraphs suggest.
            hint = self.log.agreement_hint(hint, message.log_term)
        if progress.refused(message.index, hint):
            self._send_append(message.sender, progress, even_empty=True)

    def _append_accepted(self, progress: Progress, message: Message) -> None:
        progress.acknowledged(message.index)
        if progress.flow is Flow.PROBE or (
            progress.flow is Flow.SNAPSHOT and progress.match >= progress.snapshot_index
        ):
            progress.become_replicate()
        self._maybe_commit()
        if message.sender == self.transferee:
            self._continue_transfer()

    def _maybe_commit(self) -> None:
        """Only entries of the own term are counted (paper, 5.4.2 and figure 8)."""
        match = {member: progress.match for member, progress in self.progress.items()}
        index = committed_index(self.membership, match)
        if index > self.log.commit and self.log.term_at(index) == self.term:
            before = self.log.commit
            self.log.commit_to(index)
            done = self.log.slice(before + 1, index, 1 << 62)
            self._uncommitted_bytes = max(
                0, self._uncommitted_bytes - sum(len(entry.data) for entry in done)
            )
            self._start_reads()

    def untold_commits(self) -> bool:
        """Whether followers could be told of a commit."""
        return any(
            progress.commit_sent < min(progress.match, self.log.commit)
            for member, progress in self.progress.items()
            if member != self.id
        )

    def _send_appends(self, *, tell_commits: bool) -> None:
        """Bring every follower up to date, as far as its window allows."""
        for member, progress in self.progress.items():
            if member == self.id:
                continue
            while not progress.paused and progress.next <= self.log.last_index:
                if not self._send_append(member, progress, even_empty=False):
                    break
            if tell_commits or progress.commit_sent < progress.awaited:
                self._send_commit(member, progress)

    def _send_commit(self, to: int, progress: Progress) -> None:
        """Tell what is committed, when no append has said so already. The paper's leader leaves
        that to the next AppendEntries; its answer would say nothing that is not known. If it gets
        lost, the next heartbeat says the same."""
        known = min(progress.match, self.log.commit)
        if progress.commit_sent < known:
            progress.commit_sent = known
            self._send_now(Message(MessageType.COMMIT, to, self.id, self.term, commit=known))

    def _send_append(self, to: int, progress: Progress, *, even_empty: bool) -> bool:
        if progress.paused:
            return False
        previous = progress.next - 1
        previous_term = self.log.term_at(previous)
        if previous_term is None:
            return self._send_snapshot(to, progress)
        entries = self.log.slice(progress.next, self.log.last_index, self.config.max_message_bytes)
        if not entries and not even_empty:
            return False
        progress.sent(entries)
        progress.commit_sent = self.log.commit
        self._send_now(
            Message(
                MessageType.APPEND,
                to,
                self.id,
                self.term,
                previous,
                previous_term,
                self.log.commit,
                entries=entries,
            )
        )
        return True

    def _send_snapshot(self, to: int, progress: Progress) -> bool:
        if not progress.recent_active:
            return False  # it does not answer: no snapshot for one who is not there
        meta = self.log.snapshot
        progress.become_snapshot(meta.index)
        self._send_now(Message(MessageType.SNAPSHOT, to, self.id, self.term, snapshot=meta))
        return True

    def _broadcast_heartbeat(self) -> None:
        for member, progress in self.progress.items():
            if member != self.id:
                self._send_now(
                    Message(
                        MessageType.HEARTBEAT,
                        member,
                        self.id,
                        self.term,
                        # Never beyond what the follower is known to have.
                        commit=min(progress.match, self.log.commit),
                        context=self._reads.context,
                    )
                )

    def _continue_transfer(self) -> None:
        if self.progress[self.transferee].match == self.log.last_index:
            self._send_now(Message(MessageType.TIMEOUT_NOW, self.transferee, self.id, self.term))

    # --- linearizable reads (dissertation 6.4)

    def _enqueue_read(self, read: Read) -> None:
        self._reads.add(read)
        self._start_reads()

    def _start_reads(self) -> None:
        """A round may start once an entry of this term is committed."""
        if not self._reads.idle or not self._reads.waiting:
            return
        if self.log.term_at(self.log.commit) != self.term:
            return
        self._reads.start(self.log.commit, self.id)
        self._broadcast_heartbeat()
        self._release_reads()

    def _release_reads(self) -> None:
        for read in self._reads.confirmed(self.membership):
            if read.origin == self.id:
                self._read_states.append(read)
            else:
                self._send_now(
                    Message(
                        MessageType.READ_INDEX_RESPONSE,
                        read.origin,
                        self.id,
                        self.term,
                        read.index,
                        context=read.context,
                    )
                )
        if self._reads.idle:
            self._start_reads()

    # --- out

    def _send_now(self, message: Message) -> None:
        self._now.append(message)

    def _hold(self, message: Message) -> None:
        """Send only after what it rests on (term, vote, entries) is on disk (paper, figure 2)."""
        self._held.append(message)


_FROM_LEADER: dict[MessageType, Callable[[Core, Message], None]] = {
    MessageType.APPEND: Core._handle_append,
    MessageType.HEARTBEAT: Core._handle_heartbeat,
    MessageType.SNAPSHOT: Core._handle_snapshot,
    MessageType.COMMIT: Core._handle_commit,
}

__all__ = ["Config", "Core", "ProposalDropped", "Read", "Ready", "Role", "Write"]
