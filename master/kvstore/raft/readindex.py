"""ReadIndex: linearizable reads without a log entry (dissertation 6.4). The queue of those who
wait is in `reads.py`."""

from __future__ import annotations

from master.kvstore.raft.heartbeat import broadcast_heartbeat
from master.kvstore.raft.messages import NOBODY, Message, MessageType
from master.kvstore.raft.reads import Read
from master.kvstore.raft.state import Role, State


def ask_to_read(state: State, context: bytes) -> None:
    if state.role is Role.LEADER:
        enqueue_read(state, Read(state.id, context))
    elif state.leader != NOBODY:
        state.send_now(Message(MessageType.READ_INDEX, state.leader, state.id, context=context))


def enqueue_read(state: State, read: Read) -> None:
    state.reads.add(read)
    start_reads(state)


def start_reads(state: State) -> None:
    """A round may start once an entry of this term is committed."""
    if not state.reads.idle or not state.reads.waiting:
        return
    if state.log.term_at(state.log.commit) != state.term:
        return
    state.reads.start(state.log.commit, state.id)
    broadcast_heartbeat(state)
    release_reads(state)


def confirm_reads(state: State, heartbeat_answer: Message) -> None:
    """One more still follows; a quorum of them says that nobody else led when the round began."""
    state.reads.acknowledge(heartbeat_answer.sender, heartbeat_answer.context)
    release_reads(state)


def release_reads(state: State) -> None:
    """Those of the round, if a quorum has answered; then the next round may start."""
    for read in state.reads.confirmed(state.membership):
        if read.origin == state.id:
            state.read_states.append(read)
        else:
            state.send_now(
                Message(
                    MessageType.READ_INDEX_RESPONSE,
                    read.origin,
                    state.id,
                    state.term,
                    read.index,
                    context=read.context,
                )
            )
    if state.reads.idle:
        start_reads(state)


def read_answered(state: State, message: Message) -> None:
    state.read_states.append(Read(state.id, message.context, message.index))
