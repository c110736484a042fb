"""Who leads: campaigns and votes (paper, 5.2 and 5.4.1), PreVote (dissertation 9.6)."""

from __future__ import annotations

from collections.abc import Collection

from master.kvstore.raft.messages import NOBODY, Entry, Message, MessageType
from master.kvstore.raft.progress import Progress
from master.kvstore.raft.quorum import has_quorum, vote_result
from master.kvstore.raft.state import Role, State

TRANSFER = b"transfer"  # a vote request's context: the leader itself asked for this election
_REST_TICKS = 2  # what is left of the first wait at least: a leader is heard of within one


def campaign(state: State, *, pre_vote: bool, context: bytes = b"") -> None:
    """Ask for votes; first whether one would get them (PreVote, dissertation 9.6)."""
    if state.log.unapplied_config():
        # It would count votes by a membership that is known to be over. Without this, changes
        # that count when applied would not be safe (etcd-io/raft checks the same).
        state.reset_timer()
        return
    if pre_vote:
        state.become(Role.PRE_CANDIDATE, state.term, NOBODY)
        kind, term = MessageType.PRE_VOTE, state.term + 1
    else:
        state.become(Role.CANDIDATE, state.term + 1, NOBODY)
        state.vote = state.id
        kind, term = MessageType.VOTE, state.term
    state.votes = {state.id: True}
    if pre_vote and vote_result(state.membership, state.votes):
        _won(state)  # nobody else votes; who stands alone leads once its vote is on disk
        return
    _ask_for_votes(state, kind, term, context)


def _ask_for_votes(state: State, kind: MessageType, term: int, context: bytes) -> None:
    index, log_term = state.log.last_index, state.log.last_term
    for member in sorted(state.membership.everyone() - {state.id}):
        if state.membership.votes(member):
            state.hold(Message(kind, member, state.id, term, index, log_term, context=context))


def _won(state: State) -> None:
    if state.role is Role.PRE_CANDIDATE:
        campaign(state, pre_vote=False)
    else:
        _become_leader(state)


def _become_leader(state: State) -> None:
    state.become(Role.LEADER, state.term, state.id)
    for member in state.membership.everyone():
        state.progress[member] = Progress(next=state.log.last_index + 1)
    state.progress[state.id].acknowledged(state.log.stable)
    # A change by an earlier leader may be among what is not applied yet.
    state.pending_config = state.log.last_index
    # Only an entry of its own term tells a leader what is committed (paper, 5.4.2).
    state.append([Entry(state.term, state.log.last_index + 1)])


def advance_first_wait(state: State, reached: Collection[int]) -> None:
    """Who has just started knows of no leader. If there is one, its heartbeat comes soon after
    a majority is within reach; if there is none, all have started, and nobody needs to sit out the
    least timeout (etcd: --initial-election-tick-advance). Timeouts differ as much as ever."""
    if not state.may_advance or not has_quorum(state.membership, reached):
        return
    state.may_advance = False
    if state.role is Role.FOLLOWER and state.leader == NOBODY:
        state.elapsed = max(state.elapsed, state.config.election_ticks - _REST_TICKS)


def in_lease(state: State) -> bool:
    """A leader was heard of within the least timeout: nobody else may unseat it
    (dissertation 4.2.3 and 6.2)."""
    return state.leader != NOBODY and state.elapsed < state.config.election_ticks


def answer_vote(state: State, message: Message) -> None:
    pre_vote = message.type is MessageType.PRE_VOTE
    free = (
        state.vote == message.sender
        or (state.vote == NOBODY and state.leader == NOBODY)
        or (pre_vote and message.term > state.term)
    )
    granted = free and state.log.up_to_date(message.index, message.log_term)
    kind = MessageType.PRE_VOTE_RESPONSE if pre_vote else MessageType.VOTE_RESPONSE
    term = message.term if granted else state.term
    if granted and not pre_vote:
        state.elapsed = 0
        state.vote = message.sender
    # A refusal says what is committed: somebody who needs the votes of a membership that is
    # over, because it never heard of the end, would otherwise ask in vain for ever.
    commit = 0 if granted else state.log.commit
    state.hold(
        Message(
            kind,
            message.sender,
            state.id,
            term,
            log_term=state.log.term_at(commit) or 0,
            commit=commit,
            reject=not granted,
        )
    )


def count_vote(state: State, message: Message) -> None:
    wanted = {
        MessageType.PRE_VOTE_RESPONSE: Role.PRE_CANDIDATE,
        MessageType.VOTE_RESPONSE: Role.CANDIDATE,
    }[message.type]
    if state.role is not wanted:
        return
    if not message.reject and wanted is Role.PRE_CANDIDATE and message.term != state.term + 1:
        return  # an answer to a campaign of an earlier term
    if message.commit and state.log.term_at(message.commit) == message.log_term:
        state.log.commit_to(message.commit)  # the same entry (Log Matching), so it is committed
    state.votes.setdefault(message.sender, not message.reject)
    result = vote_result(state.membership, state.votes)
    if result is True:
        _won(state)
    elif result is False:
        state.become_follower(state.term, NOBODY)


def count_own_vote(state: State) -> None:
    """The own vote counts once it is on disk, like any other (paper, figure 2). The only voter
    wins by it alone: had it led before, a crash could let it lead the same term twice, and
    learners keep what it sent the first time. The simulation found that."""
    if vote_result(state.membership, state.votes):
        _won(state)


def suspect_leader(state: State) -> None:
    """The leader's process is known to be gone: stop waiting for its heartbeats.

    Only shortens the wait. PreVote still keeps a wrong suspicion from unseating anybody.
    """
    if state.role is Role.FOLLOWER and state.leader != NOBODY:
        # Everybody notices at once: taking turns by id avoids a split vote.
        others = sorted(state.membership.voters - {state.leader})
        turn = others.index(state.id) if state.id in others else len(others)
        state.timeout = state.config.election_ticks + 1 + 2 * turn
        # The lease of who is gone ends now: whoever asks first must not be refused for it.
        state.elapsed = max(state.elapsed, state.config.election_ticks)
