"""What a leader does to have its log everywhere (paper, 5.3: AppendEntries, sender) and when an
entry is committed (5.4.2). How much is under way to one follower is `progress.py`'s."""

from __future__ import annotations

from master.kvstore.raft.messages import Message, MessageType
from master.kvstore.raft.progress import Flow, Progress
from master.kvstore.raft.quorum import committed_index
from master.kvstore.raft.readindex import confirm_reads, start_reads
from master.kvstore.raft.snapshots import send_snapshot
from master.kvstore.raft.state import State
from master.kvstore.raft.transfer import continue_transfer

# What takes long to apply is told at once: followers apply it while the client reads its answer,
# not when the next entry waits for them to write it.
_TOLD_AT_ONCE_BYTES = 16 << 10


def send_appends(state: State, *, tell_commits: bool) -> None:
    """Bring every follower up to date, as far as its window allows."""
    for member, progress in state.progress.items():
        if member == state.id:
            continue
        while not progress.paused and progress.next <= state.log.last_index:
            if not send_append(state, member, progress, even_empty=False):
                break
        if tell_commits or progress.commit_sent < progress.awaited:
            _send_commit(state, member, progress)


def send_append(state: State, to: int, progress: Progress, *, even_empty: bool) -> bool:
    if progress.paused:
        return False
    log = state.log
    previous = progress.next - 1
    previous_term = log.term_at(previous)
    if previous_term is None:
        return send_snapshot(state, to, progress)
    entries = log.slice(progress.next, log.last_index, state.config.max_message_bytes)
    if not entries and not even_empty:
        return False
    progress.sent(entries)
    progress.commit_sent = log.commit
    state.send_now(
        Message(
            MessageType.APPEND,
            to,
            state.id,
            state.term,
            previous,
            previous_term,
            log.commit,
            entries=entries,
        )
    )
    return True


def _send_commit(state: State, to: int, progress: Progress) -> None:
    """Tell what is committed, when no append has said so already. The paper's leader leaves
    that to the next AppendEntries; its answer would say nothing that is not known. If it gets
    lost, the next heartbeat says the same."""
    known = min(progress.match, state.log.commit)
    if progress.commit_sent < known:
        progress.commit_sent = known
        state.send_now(Message(MessageType.COMMIT, to, state.id, state.term, commit=known))


def untold_commits(state: State) -> bool:
    return any(
        progress.commit_sent < min(progress.match, state.log.commit)
        for member, progress in state.progress.items()
        if member != state.id
    )


def append_answered(state: State, progress: Progress, message: Message) -> None:
    if message.reject:
        _append_refused(state, progress, message)
    else:
        _append_accepted(state, progress, message)


def _append_refused(state: State, progress: Progress, message: Message) -> None:
    hint = message.hint
    if message.log_term:
        # Skip a whole term at a time, as section 5.3's last paragraphs suggest.
        hint = state.log.agreement_hint(hint, message.log_term)
    if progress.refused(message.index, hint):
        send_append(state, message.sender, progress, even_empty=True)


def _append_accepted(state: State, progress: Progress, message: Message) -> None:
    progress.acknowledged(message.index)
    if progress.flow is Flow.PROBE or (
        progress.flow is Flow.SNAPSHOT and progress.match >= progress.snapshot_index
    ):
        progress.become_replicate()
    maybe_commit(state)
    if message.sender == state.transferee:
        continue_transfer(state)


def heartbeat_answered(state: State, progress: Progress, message: Message) -> None:
    progress.heartbeat_answered()
    if progress.match < state.log.last_index:
        send_append(state, message.sender, progress, even_empty=True)
    confirm_reads(state, message)


def own_disk_written(state: State) -> None:
    """A leader's own disk is one of the majority's (dissertation 10.2.1)."""
    state.progress[state.id].acknowledged(state.log.stable)
    maybe_commit(state)


def maybe_commit(state: State) -> None:
    """Only entries of the own term are counted (paper, 5.4.2 and figure 8)."""
    match = {member: progress.match for member, progress in state.progress.items()}
    index = committed_index(state.membership, match)
    if index > state.log.commit and state.log.term_at(index) == state.term:
        before = state.log.commit
        state.log.commit_to(index)
        done = sum(len(entry.data) for entry in state.log.slice(before + 1, index, 1 << 62))
        state.uncommitted_bytes = max(0, state.uncommitted_bytes - done)
        if done >= _TOLD_AT_ONCE_BYTES:
            for progress in state.progress.values():
                progress.awaited = max(progress.awaited, index)
        start_reads(state)


def lost_contact(state: State, to: int) -> None:
    """Messages to a follower were dropped: find out anew how far its log goes."""
    progress = state.progress.get(to)
    if progress is not None and progress.flow is Flow.REPLICATE:
        progress.become_probe()
