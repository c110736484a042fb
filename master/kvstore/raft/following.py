"""What a follower does with what its leader sends (paper, 5.3: AppendEntries, receiver)."""

from __future__ import annotations

from master.kvstore.raft.messages import Message, MessageType
from master.kvstore.raft.state import State


def handle_append(state: State, message: Message) -> None:
    if message.index < state.log.commit:
        acknowledge(state, message.sender, state.log.commit)
        return
    matched = state.log.try_append(message.index, message.log_term, message.entries)
    if matched is None:
        _refuse(state, message)
        return
    state.log.commit_to(min(message.commit, matched))
    acknowledge(state, message.sender, matched)


def _refuse(state: State, message: Message) -> None:
    """The logs do not agree there; the hint spares the leader a step for each entry (5.3, end)."""
    hint = state.log.agreement_hint(message.index, message.log_term)
    state.hold(
        Message(
            MessageType.APPEND_RESPONSE,
            message.sender,
            state.id,
            state.term,
            message.index,
            state.log.term_at(hint) or 0,
            reject=True,
            hint=hint,
        )
    )


def acknowledge(state: State, leader: int, index: int) -> None:
    state.hold(Message(MessageType.APPEND_RESPONSE, leader, state.id, state.term, index))


def handle_commit(state: State, message: Message) -> None:
    state.log.commit_to(min(message.commit, state.log.last_index))


def handle_heartbeat(state: State, message: Message) -> None:
    handle_commit(state, message)
    answer = Message(
        MessageType.HEARTBEAT_RESPONSE,
        message.sender,
        state.id,
        state.term,
        context=message.context,
    )
    # It promises nothing but the term, so a slow disk need not delay it.
    if state.saved[0] == state.term:
        state.send_now(answer)
    else:
        state.hold(answer)
