"""Who is in the cluster and who may no longer be: replicated, changed through the log.

What is refused here is refused on every member alike. What depends on who is reachable at the
moment (`check_add` and the like) is asked by the proposer, before the change takes a place in
the log; the rules and their errors are etcd's (server/etcdserver, strict reconfiguration check).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from kube.stubs.etcd import rpc_pb2
from master.kvstore.errors import (
    BadMemberUrls,
    MemberExists,
    MemberNotFound,
    MemberNotLearner,
    NotEnoughStarted,
    PeerUrlExists,
    TooManyLearners,
    Unhealthy,
)
from master.kvstore.raft.messages import Membership

MAX_LEARNERS = 1


class Members:
    """A member's id is used once: whoever was removed does not come back under it."""

    def __init__(self, members: Iterable[rpc_pb2.Member] = (), removed: Iterable[int] = ()) -> None:
        self.all: dict[int, rpc_pb2.Member] = {member.ID: member for member in members}
        self.removed = set(removed)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self.all

    def listed(self) -> list[rpc_pb2.Member]:
        return [self.all[key] for key in sorted(self.all)]

    def get(self, member_id: int) -> rpc_pb2.Member:
        member = self.all.get(member_id)
        if member is None:
            raise MemberNotFound
        return member

    @property
    def voters(self) -> frozenset[int]:
        return frozenset(key for key, member in self.all.items() if not member.isLearner)

    @property
    def learners(self) -> frozenset[int]:
        return frozenset(key for key, member in self.all.items() if member.isLearner)

    # --- changes, in the log's order

    def add(self, member: rpc_pb2.Member) -> None:
        if member.ID in self.removed:
            raise MemberNotFound  # etcd's answer to an id that was removed
        if member.ID in self.all:
            raise MemberExists
        self._check_urls_free(member.peerURLs, member.ID)
        if member.isLearner and len(self.learners) >= MAX_LEARNERS:
            raise TooManyLearners
        self.all[member.ID] = member

    def remove(self, member_id: int) -> None:
        self.get(member_id)
        if self.voters == {member_id}:
            raise NotEnoughStarted
        del self.all[member_id]
        self.removed.add(member_id)

    def update(self, member_id: int, peer_urls: Collection[str]) -> None:
        member = self.get(member_id)
        self._check_urls_free(peer_urls, member_id)
        member.ClearField("peerURLs")
        member.peerURLs.extend(peer_urls)

    def promote(self, member_id: int) -> None:
        member = self.get(member_id)
        if not member.isLearner:
            raise MemberNotLearner
        member.isLearner = False

    def publish(self, published: rpc_pb2.Member) -> None:
        """A member tells its name and client URLs: it has started."""
        member = self.all.get(published.ID)
        if member is not None:
            member.name = published.name
            member.ClearField("clientURLs")
            member.clientURLs.extend(published.clientURLs)

    def _check_urls_free(self, urls: Iterable[str], own: int) -> None:
        taken = {url for key, m in self.all.items() if key != own for url in m.peerURLs}
        if taken.intersection(urls):
            raise PeerUrlExists


def checked_urls(urls: Iterable[str]) -> list[str]:
    """What a client may have typed: as in etcd, spaces around a URL do not count."""
    trimmed = [url.strip() for url in urls]
    check_urls(trimmed)
    return trimmed


def check_urls(urls: Collection[str]) -> None:
    """Absolute http(s) URLs with a host and a port, as etcd's types.NewURLs wants them."""
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port
        except ValueError:
            good = False
        if not good or parts.path or " " in url or not url.isprintable():
            raise BadMemberUrls
    if not urls:
        raise BadMemberUrls


def check_add_voter(members: Members, connected: Collection[int]) -> None:
    """A majority of the members after the change must have started, and all must be there."""
    started = _started(members, members.voters)
    if not (started == 1 and len(members.voters) == 1):
        _require_majority(started, len(members.voters) + 1)
    if not members.voters <= set(connected):
        raise Unhealthy


def check_remove(members: Members, member_id: int, connected: Collection[int]) -> None:
    member = members.all.get(member_id)
    if member is None or member.isLearner:
        return  # applying it says what is wrong, if anything
    left = members.voters - {member_id}
    if not left:
        raise NotEnoughStarted
    _require_majority(_started(members, left), len(left))
    if member_id not in connected:
        return  # nobody counts on it now
    if len(left & set(connected)) < len(left) // 2 + 1:
        raise Unhealthy


def check_promote(members: Members, member_id: int) -> None:
    """As for adding a voter; that the learner is in sync is the leader's knowledge."""
    after = members.voters | {member_id}
    _require_majority(_started(members, after), len(after))


def _started(members: Members, ids: Iterable[int]) -> int:
    return sum(bool(members.all[key].name) for key in ids if key in members.all)


def _require_majority(started: int, total: int) -> None:
    if started < total // 2 + 1:
        raise NotEnoughStarted


def membership_of(members: Members) -> Membership:
    return Membership(members.voters, frozenset(), members.learners)
