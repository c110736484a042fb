"""Which message is for which rule: its term first (paper, 5.1), then its type."""

from __future__ import annotations

from collections.abc import Callable

from master.kvstore.raft.election import TRANSFER, answer_vote, count_vote, in_lease
from master.kvstore.raft.following import handle_append, handle_commit, handle_heartbeat
from master.kvstore.raft.messages import NOBODY, Message, MessageType
from master.kvstore.raft.proposing import proposed
from master.kvstore.raft.readindex import enqueue_read, read_answered
from master.kvstore.raft.reads import Read
from master.kvstore.raft.replication import append_answered, heartbeat_answered
from master.kvstore.raft.snapshots import handle_snapshot
from master.kvstore.raft.state import Role, State
from master.kvstore.raft.transfer import told_to_campaign

_FROM_LEADER: dict[MessageType, Callable[[State, Message], None]] = {
    MessageType.APPEND: handle_append,
    MessageType.HEARTBEAT: handle_heartbeat,
    MessageType.SNAPSHOT: handle_snapshot,
    MessageType.COMMIT: handle_commit,
}


def step(state: State, message: Message) -> None:
    if message.type in (MessageType.PROPOSE, MessageType.READ_INDEX):
        _step_request(state, message)
    elif message.term > state.term:
        _step_newer(state, message)
    elif message.term < state.term:
        _step_older(state, message)
    else:
        _step_current(state, message)


def _step_request(state: State, message: Message) -> None:
    """A follower's request. Whoever does not lead drops it: the asker asks again."""
    if state.role is not Role.LEADER:
        return
    if message.type is MessageType.READ_INDEX:
        enqueue_read(state, Read(message.sender, message.context))
    else:
        proposed(state, message)


def _step_newer(state: State, message: Message) -> None:
    kind = message.type
    if kind in (MessageType.VOTE, MessageType.PRE_VOTE):
        if in_lease(state) and message.context != TRANSFER:
            return
        if kind is MessageType.PRE_VOTE:
            answer_vote(state, message)  # a question about the future changes no term
            return
    elif kind is MessageType.PRE_VOTE_RESPONSE and not message.reject:
        count_vote(state, message)  # granted for the term that we would start
        return
    state.become_follower(message.term, message.sender if kind in _FROM_LEADER else NOBODY)
    _step_current(state, message)


def _step_older(state: State, message: Message) -> None:
    sender = message.sender
    if message.type in (MessageType.APPEND, MessageType.HEARTBEAT):
        # A leader of the past, maybe one cut off for a while, learns the term from this.
        state.hold(Message(MessageType.APPEND_RESPONSE, sender, state.id, state.term))
    elif message.type is MessageType.PRE_VOTE:
        state.hold(
            Message(MessageType.PRE_VOTE_RESPONSE, sender, state.id, state.term, reject=True)
        )


def _step_current(state: State, message: Message) -> None:
    kind = message.type
    if kind in (MessageType.VOTE, MessageType.PRE_VOTE):
        answer_vote(state, message)
    elif kind in (MessageType.VOTE_RESPONSE, MessageType.PRE_VOTE_RESPONSE):
        count_vote(state, message)
    elif kind is MessageType.TIMEOUT_NOW:
        told_to_campaign(state)
    elif kind is MessageType.READ_INDEX_RESPONSE:
        read_answered(state, message)
    elif state.role is Role.LEADER:
        _step_leader(state, message)
    elif kind in _FROM_LEADER:
        if state.role is not Role.FOLLOWER or state.leader != message.sender:
            state.become_follower(message.term, message.sender)
        state.elapsed = 0
        _FROM_LEADER[kind](state, message)


def _step_leader(state: State, message: Message) -> None:
    progress = state.progress.get(message.sender)
    if progress is None:
        return
    progress.recent_active = True
    if message.type is MessageType.APPEND_RESPONSE:
        append_answered(state, progress, message)
    elif message.type is MessageType.HEARTBEAT_RESPONSE:
        heartbeat_answered(state, progress, message)
