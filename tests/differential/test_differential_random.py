"""Random calls to our store and to stock etcd: the same answers (`python -m tests.differential`
asks for as long as one likes)."""

from __future__ import annotations

import shutil

import pytest

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.compare import Comparison, Pairs, Tally, shrink
from tests.differential.hunt.generate import THEMES, sequence
from tests.differential.hunt.steps import MEMBER, Asked, Call, Close, Watch
from tests.differential.pair import difference

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return Pairs(tmp_path_factory.mktemp("random"), members=1)


@pytest.mark.parametrize("theme", sorted({*THEMES}))
def test_random_calls(pairs: Pairs, theme: str) -> None:
    seed = 8 * 1000 + THEMES.index(theme)
    steps = sequence(seed, 60, members=1)
    tally = Tally()
    found = pairs.run(steps, tally)
    if found:
        steps = shrink(steps[: found.number + 1], lambda some: pairs.run(some, Tally()), 12)
        shown = "\n".join(map(str, steps))
        raise AssertionError(f"seed {seed}:\n{difference(found.ours, found.theirs)}\n{shown}")
    assert tally.steps.total() >= 60
    assert tally.codes["OK"] > 10  # else it asked for nonsense only


def _created(**fields: object) -> rpc_pb2.WatchRequest:
    return rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(**fields))


def _ended(watch_id: int) -> rpc_pb2.WatchRequest:
    return rpc_pb2.WatchRequest(cancel_request=rpc_pb2.WatchCancelRequest(watch_id=watch_id))


_PUT = Call("KV/Put", (rpc_pb2.PutRequest(key=b"k", value=b"v"),))
_PROGRESS = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())
_LOGIN = rpc_pb2.AuthenticateRequest(name="root", password="r")
_BAD_TOKEN = Asked(user="?")
# What once differed, as the random calls found it.
FOUND = [
    Call("Maintenance/Defragment", (rpc_pb2.DefragmentRequest(),)),
    Call("Maintenance/MoveLeader", (rpc_pb2.MoveLeaderRequest(targetID=MEMBER),)),
    Call("Maintenance/HashKV", (rpc_pb2.HashKVRequest(revision=-1),)),
    Call("Maintenance/Alarm", (rpc_pb2.AlarmRequest(action="ACTIVATE", memberID=MEMBER),)),
    Call("Maintenance/Alarm", (rpc_pb2.AlarmRequest(action="ACTIVATE", alarm="NOSPACE"),)),
    Call("Maintenance/Status", (rpc_pb2.StatusRequest(),)),
    Call("Maintenance/Alarm", (rpc_pb2.AlarmRequest(action="DEACTIVATE", memberID=MEMBER),)),
    Call("Maintenance/Alarm", (rpc_pb2.AlarmRequest(action="DEACTIVATE", alarm="NOSPACE"),)),
    Call("Cluster/MemberUpdate", (rpc_pb2.MemberUpdateRequest(ID=5),)),
    Call("Cluster/MemberAdd", (rpc_pb2.MemberAddRequest(peerURLs=["http://h h:1"]),)),
    Call("Cluster/MemberRemove", (rpc_pb2.MemberRemoveRequest(ID=MEMBER),)),
    _PUT, _PUT, _PUT,
    Call("KV/Range", (rpc_pb2.RangeRequest(key=b"k", max_mod_revision=-1),)),
    Call("KV/Compact", (rpc_pb2.CompactionRequest(revision=4),)),
    Call("Maintenance/HashKV", (rpc_pb2.HashKVRequest(revision=4),)),
    Watch(0, _created(key=b"k", watch_id=7, start_revision=2)),
    Watch(0, _created(key=b"k", watch_id=7)),
    Watch(0, _PROGRESS), Watch(0, _ended(7)), Watch(0, _ended(7)),
    Watch(0, _created(key=b"k", watch_id=7)),
    Close(0), _PUT, _PUT,
    Call("Auth/UserAdd", (rpc_pb2.AuthUserAddRequest(name="root", password="r"),)),
    Call("Auth/UserGrantRole", (rpc_pb2.AuthUserGrantRoleRequest(user="root", role="root"),)),
    Call("Auth/AuthEnable", (rpc_pb2.AuthEnableRequest(),)),
    Call("Auth/Authenticate", (_LOGIN,), _BAD_TOKEN),
    Call("Auth/Authenticate", (_LOGIN,)),
    Call("Cluster/MemberAdd", (rpc_pb2.MemberAddRequest(peerURLs=["x"]),)),
    Call("Cluster/MemberAdd", (rpc_pb2.MemberAddRequest(peerURLs=["http://h:1"]),), _BAD_TOKEN),
    Call("Maintenance/Alarm", (rpc_pb2.AlarmRequest(),), _BAD_TOKEN),
]  # fmt: skip


def test_what_once_differed(pairs: Pairs) -> None:
    with pairs.fresh() as sides:
        found = Comparison(*sides, Tally()).run(FOUND)
        heard = len(sides[0].streams[0].received)
    assert found is None, f"{found.step}:\n{difference(found.ours, found.theirs)}"
    assert heard > 10
