"""Who is in the cluster: `--initial-cluster` turned into ids that are the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from kube.stubs.etcd import rpc_pb2
from master.kvstore.members import Members
from master.kvstore.wal.log import Identity, MemberIdentity


class ClusterFlagsError(ValueError):
    """The flags do not describe a cluster; the message names the flag."""


class ClusterInfo(msgspec.Struct, frozen=True, array_like=True):
    """What a member tells somebody who starts with nothing: who was added does not know its id."""

    cluster_id: int
    founders: tuple[MemberIdentity, ...]
    members: tuple[MemberIdentity, ...]
    started: tuple[int, ...] = ()  # those of them that have told where they serve clients


def parse_initial_cluster(text: str) -> dict[str, tuple[str, ...]]:
    """`m1=https://a:2380,m2=https://b:2380`; a name given twice has several URLs."""
    members: dict[str, tuple[str, ...]] = {}
    for part in filter(None, text.split(",")):
        name, equals, url = part.partition("=")
        if not equals or not name or not url.startswith(("http://", "https://")):
            raise ClusterFlagsError(
                f'--initial-cluster: "{part}" is not of the form name=https://host:port'
            )
        members[name] = (*members.get(name, ()), url)
    return members


def bootstrap_identity(name: str, members: Mapping[str, Iterable[str]], token: str) -> Identity:
    """Ids follow from the peer URLs and the token, so every member computes the same ones.

    They are written into the log and kept, whatever the flags say later.
    """
    if name not in members:
        known = ", ".join(members) or "nobody"
        raise ClusterFlagsError(f'--initial-cluster names {known}, but not --name "{name}"')
    identities = sorted(
        (
            MemberIdentity(_hash(*sorted(urls), token), member, tuple(urls))
            for member, urls in members.items()
        ),
        key=lambda member: member.id,
    )
    if len({member.id for member in identities}) != len(identities):
        raise ClusterFlagsError("--initial-cluster: two members have the same peer URLs")
    cluster_id = _hash(*(f"{member.id:x}" for member in identities), token)
    own = next(member.id for member in identities if member.name == name)
    return Identity(cluster_id, own, tuple(identities))


def members_of(identity: Identity) -> Members:
    """The founding members, before anybody has published its client URLs."""
    return Members(
        rpc_pb2.Member(ID=member.id, name=member.name, peerURLs=member.peer_urls)
        for member in identity.members
    )


def joining_identity(name: str, own_urls: Iterable[str], told: ClusterInfo) -> Identity:
    """Who this member is in a cluster that it was added to, from what a member there told.

    The log begins with the founders, so they are this member's beginning, too; those who are in
    it now are where to answer until the log has told.
    """
    wanted = sorted(own_urls)
    for member in told.members:
        if sorted(member.peer_urls) == wanted:
            contacts = tuple(other for other in told.members if other.id != member.id)
            return Identity(told.cluster_id, member.id, told.founders, contacts)
    raise ClusterFlagsError(
        f'--initial-cluster-state existing: no member of the cluster has the peer URLs of "{name}" '
        f"({', '.join(wanted)}); add it there first (member add)"
    )


def _hash(*parts: str) -> int:
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    # The high bit is left out: some tools keep ids in signed 64-bit numbers. 0 means nobody.
    return int.from_bytes(digest[:8], "big") >> 1 or 1
