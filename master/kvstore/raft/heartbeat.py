"""A leader's clock: heartbeats (paper, 5.2) and CheckQuorum (dissertation 6.2)."""

from __future__ import annotations

from master.kvstore.raft.messages import NOBODY, Message, MessageType
from master.kvstore.raft.quorum import has_quorum
from master.kvstore.raft.state import Role, State


def tick_leader(state: State) -> None:
    if state.elapsed >= state.config.election_ticks:
        state.elapsed = 0
        state.transferee = NOBODY  # it did not happen in time: take proposals again
        _check_quorum(state)
        if state.role is not Role.LEADER:
            return
    state.heartbeat_elapsed += 1
    if state.heartbeat_elapsed >= state.config.heartbeat_ticks:
        state.heartbeat_elapsed = 0
        broadcast_heartbeat(state)


def _check_quorum(state: State) -> None:
    """A leader that hears from no majority steps down (dissertation 6.2)."""
    active = {member for member, p in state.progress.items() if p.recent_active}
    if not has_quorum(state.membership, active | {state.id}):
        state.become_follower(state.term, NOBODY)
        return
    for progress in state.progress.values():
        progress.recent_active = False


def broadcast_heartbeat(state: State) -> None:
    for member, progress in state.progress.items():
        if member != state.id:
            state.send_now(
                Message(
                    MessageType.HEARTBEAT,
                    member,
                    state.id,
                    state.term,
                    # Never beyond what the follower is known to have.
                    commit=min(progress.match, state.log.commit),
                    context=state.reads.context,
                )
            )
