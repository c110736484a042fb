"""Leadership is handed over on purpose (dissertation 3.10)."""

from __future__ import annotations

from master.kvstore.raft.election import TRANSFER, campaign
from master.kvstore.raft.messages import Message, MessageType
from master.kvstore.raft.state import Role, State


def begin_transfer(state: State, to: int) -> bool:
    """Proposals are refused from now on, until it is done or has taken an election timeout."""
    if state.role is not Role.LEADER or to == state.id or not state.membership.votes(to):
        return False
    state.transferee = to
    state.elapsed = 0
    continue_transfer(state)
    return True


def continue_transfer(state: State) -> None:
    if state.progress[state.transferee].match == state.log.last_index:
        tell_to_campaign(state, state.transferee)


def tell_to_campaign(state: State, heir: int) -> None:
    state.send_now(Message(MessageType.TIMEOUT_NOW, heir, state.id, state.term))


def told_to_campaign(state: State) -> None:
    if state.role is Role.FOLLOWER and state.membership.votes(state.id):
        campaign(state, pre_vote=False, context=TRANSFER)
