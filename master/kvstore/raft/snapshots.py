"""InstallSnapshot (paper, section 7; dissertation 5.3). The bytes never pass through here: the
driver sends them, and has them before it tells of the message."""

from __future__ import annotations

from master.kvstore.raft.following import acknowledge
from master.kvstore.raft.messages import Message, MessageType
from master.kvstore.raft.progress import Flow, Progress
from master.kvstore.raft.state import Role, State


def send_snapshot(state: State, to: int, progress: Progress) -> bool:
    """What the follower needs is compacted away."""
    if not progress.recent_active:
        return False  # it does not answer: no snapshot for one who is not there
    meta = state.log.snapshot
    progress.become_snapshot(meta.index)
    state.send_now(Message(MessageType.SNAPSHOT, to, state.id, state.term, snapshot=meta))
    return True


def snapshot_sent(state: State, to: int, *, delivered: bool) -> None:
    """The transport's word on a snapshot that it was told to send."""
    progress = state.progress.get(to)
    if state.role is not Role.LEADER or progress is None or progress.flow is not Flow.SNAPSHOT:
        return
    if delivered:
        progress.become_probe()
    else:
        progress.snapshot_failed()
    progress.probe_sent = True  # the next heartbeat's answer opens it again


def handle_snapshot(state: State, message: Message) -> None:
    meta = message.snapshot
    assert meta is not None
    if meta.index > state.log.commit:
        if state.log.term_at(meta.index) == meta.term:
            state.log.commit_to(meta.index)  # the log has it all: only the commit was behind
        else:
            state.log.restore(meta)
            state.membership = meta.membership
            state.pending_snapshot = meta
    acknowledge(state, message.sender, state.log.commit)
