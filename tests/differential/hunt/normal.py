"""An answer as text, without what must differ between two clusters."""

from __future__ import annotations

from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.side import Outcome, Side, Stream, response_class

_GIVEN_IDS = 1 << 32  # what a client chooses is less
_JUST_NOW = 20  # seconds that may have passed on one side


def shown(side: Side, path: str, outcome: Outcome) -> str:
    if outcome.code != "OK":
        return f"{outcome.code}: {_names(side, outcome.details)}"
    if path == "Maintenance/Snapshot":
        return _snapshot(outcome.messages)
    return "\n--\n".join(_message(side, path, one) for one in outcome.messages) or "nothing"


def _message(side: Side, path: str, data: bytes) -> str:
    try:
        message: Any = response_class(path).FromString(data)
    except DecodeError:
        return f"not decoded: {data!r}"
    _headless(message)
    if path in _MORE:
        _MORE[path](side, message)
    return _names(side, text(message))


def text(message: Any) -> str:
    return text_format.MessageToString(message, print_unknown_fields=True)


def _headless(message: Any) -> None:
    """Who answered must be said, but not who it was."""
    if not message.HasField("header"):
        return
    for name in ("cluster_id", "member_id", "raft_term"):
        if getattr(message.header, name):
            setattr(message.header, name, 1)


def _names(side: Side, shown: str) -> str:
    for number, member in enumerate(side.names.members):
        shown = shown.replace(str(member), f"member-{number}").replace(f"{member:x}", f"m-{number}")
    for number, member in enumerate(side.cluster.members):
        for url, kind in (
            (member.client_url, "client"),
            (f"http://127.0.0.1:{member.plain_port}", "plain"),
            (member.peer_url, "peer"),
        ):
            shown = shown.replace(url, f"{kind}-{number}")
    return shown


def _lease(_: Side, message: Any) -> None:
    if abs(message.ID) >= _GIVEN_IDS:
        message.ID = 1 << 32


def _time_left(_: Side, message: Any) -> None:
    if 0 <= message.grantedTTL - message.TTL <= _JUST_NOW:
        message.TTL = message.grantedTTL
    message.keys[:] = sorted(message.keys)  # etcd lists them in any order


def _leases(_: Side, message: Any) -> None:
    """A follower of etcd's lists them in any order; those with ids of its choice have others."""
    ids = sorted(min(one.ID, 1 << 32) for one in message.leases)
    del message.leases[:]
    for one in ids:
        message.leases.add(ID=one)


def _status(side: Side, message: Any) -> None:
    for name in ("dbSize", "dbSizeInUse", "leader", "raftIndex", "raftTerm", "raftAppliedIndex"):
        if getattr(message, name):
            setattr(message, name, 1)
    assert message.version
    message.version = "3"
    message.errors[:] = sorted(_names(side, error) for error in message.errors)


def _token(_: Side, message: Any) -> None:
    assert message.token
    message.token = "T"


def _hash(_: Side, message: Any) -> None:
    message.hash = 1
    if isinstance(message, rpc_pb2.HashKVResponse):
        message.hash_revision = 0  # a field of later etcd


def _members(side: Side, message: Any) -> None:
    """In the order of their ids, which differ."""
    order = {one: number for number, one in enumerate(side.names.members)}
    found = sorted(message.members, key=lambda m: (order.get(m.ID, 99), list(m.peerURLs)))
    kept = [type(one).FromString(one.SerializeToString()) for one in found]
    del message.members[:]
    for one in kept:
        one.ID = one.ID if one.ID in order else 1
        message.members.append(one)
    if isinstance(message, rpc_pb2.MemberAddResponse):
        message.member.ID = 1


def _alarms(side: Side, message: Any) -> None:
    """etcd 3.4 forgets the header; its etcdctl crashes on that."""
    message.ClearField("header")
    order = {one: number for number, one in enumerate(side.names.members)}
    kept = sorted((order.get(one.memberID, 99), one.memberID, one.alarm) for one in message.alarms)
    del message.alarms[:]
    for _, member, alarm in kept:
        message.alarms.add(memberID=member, alarm=alarm)


_MORE = {
    "Lease/LeaseGrant": _lease,
    "Lease/LeaseTimeToLive": _time_left,
    "Lease/LeaseLeases": _leases,
    "Maintenance/Status": _status,
    "Maintenance/Alarm": _alarms,
    "Maintenance/Hash": _hash,
    "Maintenance/HashKV": _hash,
    "Auth/Authenticate": _token,
    "Cluster/MemberAdd": _members,
    "Cluster/MemberRemove": _members,
    "Cluster/MemberUpdate": _members,
    "Cluster/MemberPromote": _members,
    "Cluster/MemberList": _members,
}


def _snapshot(messages: list[bytes]) -> str:
    """A database of another size, in pieces of another size."""
    last = rpc_pb2.SnapshotResponse.FromString(messages[-1])
    return f"some data, then {last.remaining_bytes} bytes are left"


def watched(stream: Stream) -> str:
    """By watch: what was said of it, and its events, however they came in responses."""
    by_watch: dict[int, list[str]] = {}
    for data in list(stream.received):
        response = rpc_pb2.WatchResponse.FromString(data)
        said = by_watch.setdefault(response.watch_id, [])
        said += [text(event) for event in response.events]
        del response.events[:]
        if response.created or response.canceled or response.watch_id == -1:
            _headless(response)
            said.append(text(response))
    lines = [f"watch {one}:\n" + "\n".join(said) for one, said in sorted(by_watch.items())]
    return "\n".join([*lines, f"ended: {stream.ended}" if stream.ended else "open"])
