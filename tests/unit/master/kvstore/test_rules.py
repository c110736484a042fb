"""What may be done by whom, and which changes of the membership are safe: pure rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.stubs.etcd import auth_pb2, command_pb2, rpc_pb2
from master.kvstore import members as rules
from master.kvstore import state
from master.kvstore.auth import password, permissions
from master.kvstore.auth.rules import check_txn
from master.kvstore.auth.store import AuthStore, Caller
from master.kvstore.auth.tokens import LIFE_SECONDS, SimpleTokens
from master.kvstore.bolt.reader import Database
from master.kvstore.errors import (
    AuthOldRevision,
    BadMemberUrls,
    Corrupt,
    MemberExists,
    MemberNotFound,
    NotEnoughStarted,
    PermissionDenied,
    StoreError,
    TooManyLearners,
    Unhealthy,
    UserEmpty,
)
from master.kvstore.lease.lessor import Lessor
from master.kvstore.machine import Machine
from master.kvstore.members import Members, checked_urls
from master.kvstore.raft.messages import SnapshotMeta

_KEY = st.binary(max_size=2)


def member(number: int, *, name: str = "x", learner: bool = False) -> rpc_pb2.Member:
    return rpc_pb2.Member(
        ID=number, name=name, peerURLs=[f"https://h{number}:2380"], isLearner=learner
    )


THREE = (member(1), member(2), member(3))


def test_an_id_is_used_once() -> None:
    members = Members(THREE)
    members.remove(2)
    with pytest.raises(MemberNotFound):
        members.add(member(2))
    with pytest.raises(MemberExists):
        members.add(member(3))
    assert members.voters == {1, 3}


def test_one_learner_at_a_time() -> None:
    members = Members((*THREE, member(4, learner=True)))
    with pytest.raises(TooManyLearners):
        members.add(member(5, learner=True))
    members.promote(4)
    members.add(member(5, learner=True))


def test_the_last_voter_stays_though_learners_are_there() -> None:
    members = Members((member(1), member(2, learner=True)))
    with pytest.raises(NotEnoughStarted):
        members.remove(1)


@pytest.mark.parametrize(
    ("connected", "error"),
    [({1, 2, 3}, None), ({1, 2}, Unhealthy)],
    ids=["all-there", "one-away"],
)
def test_a_voter_is_added_only_to_a_healthy_cluster(
    connected: set[int], error: type[StoreError] | None
) -> None:
    if error is None:
        rules.check_add_voter(Members(THREE), connected)
    else:
        with pytest.raises(error):
            rules.check_add_voter(Members(THREE), connected)


def test_not_a_second_voter_before_the_first_has_started() -> None:
    members = Members((member(1), member(2, name="")))
    with pytest.raises(NotEnoughStarted):
        rules.check_add_voter(members, {1, 2})


def test_a_removal_must_leave_a_connected_majority() -> None:
    members = Members(THREE)
    rules.check_remove(members, 3, {1, 2})  # it is away: nobody counts on it
    with pytest.raises(Unhealthy):
        rules.check_remove(members, 2, {1, 2})


@given(
    st.lists(st.tuples(_KEY, _KEY), max_size=4), st.tuples(_KEY, _KEY).filter(lambda r: r[0] < r[1])
)
def test_permissions_cover_together(
    ranges: list[tuple[bytes, bytes]], ask: tuple[bytes, bytes]
) -> None:
    """Against the plain definition: every key asked for is in some range."""
    granted = [
        auth_pb2.Permission(permType=auth_pb2.Permission.READ, key=key, range_end=end)
        for key, end in ranges
        if key < end != b"\0"
    ]
    universe = sorted({b"", *(bytes((a,)) for a in range(256)), *(k for r in ranges for k in r)})
    universe += [key + b"\0" for key in universe]
    asked = [key for key in {*universe, ask[0]} if ask[0] <= key < ask[1]]
    covered = all(any(p.key <= key < p.range_end for p in granted) for key in asked)
    if ask[1] != b"\0":
        allowed = permissions.allows(granted, permissions.READ, *ask)
        assert not allowed or covered
        assert not permissions.allows(granted, permissions.WRITE, *ask)


@pytest.mark.parametrize("end", [b"a", b"m"], ids=["backwards", "empty"])
@pytest.mark.parametrize(("first", "last"), [(b"b", b"c"), (b"l", b"n"), (b"x", b"y")])
def test_a_range_of_nothing_wants_a_permission_for_its_key(
    end: bytes, first: bytes, last: bytes
) -> None:
    granted = [auth_pb2.Permission(permType=auth_pb2.Permission.READ, key=first, range_end=last)]
    allowed = permissions.allows(granted, permissions.READ, b"m", end)
    assert allowed == (first <= b"m" < last)


def test_urls_are_trimmed_before_they_are_judged() -> None:
    assert checked_urls([" http://h:1 ", "https://h:2"]) == ["http://h:1", "https://h:2"]
    with pytest.raises(BadMemberUrls):
        checked_urls(["http://h h:1"])


def store_with(user: str, *granted: auth_pb2.Permission) -> AuthStore:
    auth = AuthStore()
    for kind, request in (
        ("user_add", rpc_pb2.AuthUserAddRequest(name="root")),
        ("user_grant_role", rpc_pb2.AuthUserGrantRoleRequest(user="root", role="root")),
        ("user_add", rpc_pb2.AuthUserAddRequest(name=user)),
        ("role_add", rpc_pb2.AuthRoleAddRequest(name="r")),
        ("user_grant_role", rpc_pb2.AuthUserGrantRoleRequest(user=user, role="r")),
        ("auth_enable", rpc_pb2.AuthEnableRequest()),
    ):
        auth.apply(kind, request)
    for one in granted:
        auth.apply(
            "role_grant_permission", rpc_pb2.AuthRoleGrantPermissionRequest(name="r", perm=one)
        )
    return auth


def test_a_request_is_judged_by_the_rules_at_its_place_in_the_log() -> None:
    """Allowed when it was asked, forbidden since: the older revision is refused."""
    read = auth_pb2.Permission(permType=auth_pb2.Permission.READ, key=b"k")
    auth = store_with("u", read)
    caller = Caller("u", auth.revision)
    auth.check_range(caller, b"k", b"")
    auth.apply(
        "role_revoke_permission", rpc_pb2.AuthRoleRevokePermissionRequest(role="r", key=b"k")
    )
    with pytest.raises(AuthOldRevision):
        auth.check_range(caller, b"k", b"")
    with pytest.raises(PermissionDenied):
        auth.check_range(Caller("u", auth.revision), b"k", b"")
    with pytest.raises(UserEmpty):
        auth.check_range(Caller(), b"k", b"")


@pytest.mark.parametrize("branch", ["success", "failure"])
def test_each_branch_of_a_transaction_must_be_allowed(branch: str) -> None:
    """Also the one that will not run: whoever asks would learn which one it was."""
    auth = store_with("u", auth_pb2.Permission(permType=auth_pb2.Permission.READ, key=b"k"))
    caller = Caller("u", auth.revision)

    def of(key: bytes) -> rpc_pb2.TxnRequest:
        read = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))
        return rpc_pb2.TxnRequest(**{branch: [read]})

    check_txn(auth, Lessor(), caller, of(b"k"))
    with pytest.raises(PermissionDenied):
        check_txn(auth, Lessor(), caller, of(b"other"))


def test_passwords() -> None:
    kept = password.hashed("secret", 4)
    assert password.matches("secret", kept)
    assert not password.matches("Secret", kept)
    assert not password.matches("", "")
    assert kept != password.hashed("secret", 4), "salted"
    of_etcd = "$2a$10$LEJSvd.PK0VVyDvqdPe8Lud2vXvFnI3PznlU09sU86SLIi7Bb43nC"
    assert password.matches("secret", of_etcd), "a hash that etcd 3.4 made"
    long = password.hashed("a" * 80, 4)
    assert password.matches("a" * 72, long), "etcd counts no more of it either"


def test_tokens_end_without_use() -> None:
    now = [0.0]
    tokens = SimpleTokens(lambda: now[0])
    tokens.add("t", "u")
    now[0] = LIFE_SECONDS - 1
    assert tokens.caller_of("t", 7) == Caller("u", 7)
    now[0] = 2 * LIFE_SECONDS - 2
    assert tokens.caller_of("t", 8) == Caller("u", 8), "use lengthens its life"
    now[0] = 9 * LIFE_SECONDS
    assert tokens.caller_of("t", 8) is None
    tokens.add("t", "u")
    tokens.forget_user("u")
    assert tokens.caller_of("t", 8) is None


def test_members_and_rules_are_in_the_snapshot() -> None:
    machine = Machine()
    machine.members = Members(THREE)
    machine.members.remove(3)
    read = auth_pb2.Permission(permType=auth_pb2.Permission.READ, key=b"k", range_end=b"l")
    machine.auth = store_with("u", read)
    file = b"".join(state.plan(state.capture(machine, SnapshotMeta())).pages())
    _, again = state.restore(Database(file))
    assert again.members.removed == {3}
    assert again.members.voters == {1, 2}
    assert (again.auth.enabled, again.auth.revision) == (True, machine.auth.revision)
    assert again.auth.users == machine.auth.users
    assert again.auth.roles == machine.auth.roles


def test_a_corrupt_cluster_writes_nothing_until_the_alarm_is_off() -> None:
    machine = Machine()

    def apply(**request: object) -> StoreError | None:
        return machine.apply(command_pb2.Command(**request).SerializeToString()).error

    alarm = rpc_pb2.AlarmRequest(
        action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=7, alarm=rpc_pb2.CORRUPT
    )
    assert apply(alarm=alarm) is None
    assert isinstance(apply(put=rpc_pb2.PutRequest(key=b"k")), Corrupt)
    alarm.action = rpc_pb2.AlarmRequest.DEACTIVATE
    assert apply(alarm=alarm) is None
    assert apply(put=rpc_pb2.PutRequest(key=b"k")) is None
