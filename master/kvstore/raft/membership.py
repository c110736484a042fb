"""From one membership to the next (paper, section 6; dissertation, chapter 4).

One voter more or less: the majorities of both sets overlap, so the new set may count at once
(dissertation 4.1). More than that goes through a joint membership, which needs both majorities.
Who is new begins as a learner, without a vote, until it has caught up (dissertation 4.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from master.kvstore.raft.messages import NOBODY, Entry, EntryKind, Membership
from master.kvstore.raft.progress import Progress
from master.kvstore.raft.readindex import release_reads
from master.kvstore.raft.replication import maybe_commit, send_append
from master.kvstore.raft.state import Role, State
from master.kvstore.raft.transfer import tell_to_campaign


class UnsafeChange(ValueError):
    """The change would leave nobody to vote, or begins before the last one has ended."""


def change(current: Membership, voters: Iterable[int], learners: Iterable[int]) -> Membership:
    """What counts once the change to `voters` and `learners` is applied: the end, or a joint
    membership that `leave` ends."""
    new, followers = frozenset(voters), frozenset(learners)
    if current.outgoing:
        raise UnsafeChange("a joint change is under way")
    if not new:
        raise UnsafeChange("nobody would be left to vote")
    if new & followers:
        raise UnsafeChange("a learner does not vote")
    small = len(new ^ current.voters) <= 1
    return Membership(new, frozenset() if small else current.voters, followers)


def leave(joint: Membership) -> Membership:
    """The joint membership is committed: from now on only the new set counts."""
    return Membership(joint.voters, frozenset(), joint.learners)


def may_change(state: State, changes: int) -> bool:
    """One change at a time, and only after an entry of the own term is committed
    (dissertation 4.1, and the bug found in it in 2015)."""
    return (
        changes == 1
        and state.pending_config <= state.log.applied
        and not state.membership.outgoing
        and state.log.term_at(state.log.commit) == state.term
    )


def apply_membership(state: State, membership: Membership) -> None:
    """From now on these count. A change counts when it is applied, which is later than in the
    paper (section 6); what makes that safe is in `may_change` and `election.campaign`."""
    state.membership = membership
    if state.role in (Role.PRE_CANDIDATE, Role.CANDIDATE):
        state.become_follower(state.term, NOBODY)  # the votes so far were another question's
    if state.role is not Role.LEADER:
        return
    if not membership.votes(state.id):
        _leave_office(state)
        return
    for member in sorted(state.progress.keys() - membership.everyone()):
        # The last that they hear: their answer might have been to come before they were told.
        send_append(state, member, state.progress[member], even_empty=True)
    old, state.progress = state.progress, {}
    for member in sorted(membership.everyone()):
        # A new member counts as heard of, or it would cost the leader its quorum at once.
        fresh = Progress(next=state.log.last_index + 1, recent_active=True)
        state.progress[member] = old.get(member) or fresh
    if not membership.votes(state.transferee):
        state.transferee = NOBODY
    # Fewer may be enough now, and nobody may be left whose answer would show it.
    maybe_commit(state)
    release_reads(state)


def _leave_office(state: State) -> None:
    """The leader itself has no vote any more: tell what is committed, hand over, step down
    (dissertation 4.2.2)."""
    heirs = {m: p for m, p in state.progress.items() if m in state.membership.voters}
    for member, progress in heirs.items():
        send_append(state, member, progress, even_empty=True)
    heir = max(sorted(heirs), key=lambda member: heirs[member].match)
    if heirs[heir].match == state.log.last_index:
        tell_to_campaign(state, heir)
    state.become_follower(state.term, NOBODY)


def end_joint_change(state: State) -> None:
    """Once the joint membership counts, its leader proposes the way out of it (4.3)."""
    if state.membership.outgoing and state.pending_config <= state.log.applied:
        state.pending_config = state.log.last_index + 1
        state.append([Entry(state.term, state.pending_config, b"", EntryKind.CONFIG)])
