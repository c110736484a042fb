"""From one membership to the next (paper, section 6; dissertation, chapter 4).

One voter more or less: the majorities of both sets overlap, so the new set may count at once
(dissertation 4.1). More than that goes through a joint membership, which needs both majorities.
Who is new begins as a learner, without a vote, until it has caught up (dissertation 4.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from master.kvstore.raft.messages import Membership


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
