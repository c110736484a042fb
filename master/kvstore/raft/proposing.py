"""New entries: appended by the leader, passed on to it by everybody else (paper, 5.3)."""

from __future__ import annotations

from collections.abc import Sequence

from master.kvstore.raft.membership import may_change
from master.kvstore.raft.messages import NOBODY, Entry, EntryKind, Message, MessageType
from master.kvstore.raft.state import Role, State


class ProposalDropped(Exception):
    """The proposal was not appended: no leader is known, or too much is uncommitted."""


def propose(state: State, entries: tuple[Entry, ...]) -> None:
    if state.role is Role.LEADER:
        _append(state, entries)
    elif state.leader == NOBODY:
        raise ProposalDropped("no leader")
    else:
        state.send_now(Message(MessageType.PROPOSE, state.leader, state.id, entries=entries))


def proposed(state: State, message: Message) -> None:
    """A follower passed it on. What is dropped, its client's deadline tells of."""
    try:
        _append(state, message.entries)
    except ProposalDropped:
        return
    if message.sender in state.progress:
        state.progress[message.sender].awaited = state.log.last_index


def _append(state: State, entries: Sequence[Entry]) -> None:
    if state.transferee != NOBODY:
        raise ProposalDropped("leadership is being transferred")
    changes = [at for at, entry in enumerate(entries) if entry.kind is EntryKind.CONFIG]
    if changes and not may_change(state, len(changes)):
        raise ProposalDropped("a membership change is under way")
    size = sum(len(entry.data) for entry in entries)
    # Not the paper's, but etcd's: without a majority the log would grow without bound. One
    # that is too large alone is taken, or it could never be.
    if state.uncommitted_bytes and (
        state.uncommitted_bytes + size > state.config.max_uncommitted_bytes
    ):
        raise ProposalDropped("too much is uncommitted")
    state.uncommitted_bytes += size
    first = state.log.last_index + 1
    if changes:
        state.pending_config = first + changes[0]
    state.append(
        [
            Entry(state.term, first + offset, entry.data, entry.kind)
            for offset, entry in enumerate(entries)
        ]
    )
