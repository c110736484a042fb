"""Majorities, also of two sets at once while the membership changes (paper, section 6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from master.kvstore.raft.messages import Membership


def _majority(voters: Collection[int]) -> int:
    return len(voters) // 2 + 1


def _halves(membership: Membership) -> list[frozenset[int]]:
    return [half for half in (membership.voters, membership.outgoing) if half]


def committed_index(membership: Membership, match: Mapping[int, int]) -> int:
    """The highest index that a majority (of both sets) has on disk (paper, figure 2)."""
    return min(
        sorted((match.get(voter, 0) for voter in half), reverse=True)[_majority(half) - 1]
        for half in _halves(membership)
    )


def has_quorum(membership: Membership, members: Collection[int]) -> bool:
    return all(
        sum(voter in members for voter in half) >= _majority(half) for half in _halves(membership)
    )


def vote_result(membership: Membership, votes: Mapping[int, bool]) -> bool | None:
    """True when won, False when it cannot be won any more, None while it is open."""
    outcome: bool | None = True
    for half in _halves(membership):
        granted = sum(votes.get(voter) is True for voter in half)
        refused = sum(votes.get(voter) is False for voter in half)
        if refused > len(half) - _majority(half):
            return False
        if granted < _majority(half):
            outcome = None
    return outcome
