"""What etcdctl cannot say, said through gRPC to stock etcd and to ours: the same answers, codes
and words, the same streams."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import grpc
import pytest
from google.protobuf.message import Message

from kube.stubs.etcd import election_pb2, lock_pb2, rpc_pb2
from tests.component.kvstore_harness import StoreCluster, wait_until
from tests.differential.pair import Pair, difference
from tests.differential.stubs import SECONDS, Stubs, WatchStream, answer, channel, shown

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")
_Range = rpc_pb2.RangeRequest
_Put = rpc_pb2.PutRequest
_Delete = rpc_pb2.DeleteRangeRequest
_Txn = rpc_pb2.TxnRequest
_Op = rpc_pb2.RequestOp
_Compare = rpc_pb2.Compare
_Create = rpc_pb2.WatchCreateRequest
Script = Callable[[Stubs], list[str]]


@pytest.fixture(scope="module")
def both(pair: Pair) -> Iterator[tuple[Stubs, Stubs]]:
    """A follower of ours and one of theirs."""
    with (
        channel(pair.ours, pair.ours.members[1]) as ours,
        channel(pair.theirs, pair.theirs.members[1]) as theirs,
    ):
        yield Stubs.on(ours), Stubs.on(theirs)


@pytest.fixture(autouse=True)
def level(both: tuple[Stubs, Stubs]) -> None:
    """The same revision on both before each test, however the last one ended."""
    while (ours := both[0].revision()) != (theirs := both[1].revision()):
        stubs = both[0] if ours < theirs else both[1]
        stubs.kv.Put(_Put(key=b"level"))


def compare(both: tuple[Stubs, Stubs], script: Script) -> list[str]:
    """The script's answers, which must be the same on both."""
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(script, both)
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == other, f"answer {number}:\n{difference(one, other)}"
    return ours


def requests(both: tuple[Stubs, Stubs], *all_: Message) -> list[str]:
    """KV requests, one after the other."""
    return compare(both, lambda stubs: [answer(kv_call(stubs, one), one) for one in all_])


def kv_call(stubs: Stubs, request: Message) -> Callable[..., Message]:
    name = type(request).__name__.removesuffix("Request")
    call: Callable[..., Message] = getattr(stubs.kv, "Compact" if name == "Compaction" else name)
    return call


def op(request: Message) -> rpc_pb2.RequestOp:
    names = {_Range: "request_range", _Put: "request_put", _Delete: "request_delete_range"}
    return _Op(**{names.get(type(request), "request_txn"): request})


def put_op(key: bytes, **fields: object) -> rpc_pb2.RequestOp:
    return op(_Put(key=key, **fields))  # type: ignore[arg-type]  # fields of the message


# --- ranges


def test_ranges_with_every_option(both: tuple[Stubs, Stubs]) -> None:
    def prepare(stubs: Stubs) -> list[str]:
        start = stubs.revision()
        for number, key in enumerate([b"r/b", b"r/d", b"r/a", b"r/c", b"r/b", b"r/a", b"r/b"]):
            stubs.kv.Put(_Put(key=key, value=b"%d" % (9 - number)))
        return [str(start)]

    start = int(compare(both, prepare)[0])
    everything = {"key": b"r/", "range_end": b"r0"}
    some = [
        _Range(**everything, sort_order=order, sort_target=target, limit=limit)
        for order, target, limit in product(range(3), range(5), (0, 2))
    ]
    some += [
        _Range(**everything, **{f"{side}_{kind}_revision": start + number})
        for side, kind, number in product(("min", "max"), ("mod", "create"), (1, 4, 7))
    ]
    some += [
        _Range(**everything, **fields)  # type: ignore[arg-type]  # fields of the message
        for fields in (
            {"count_only": True}, {"count_only": True, "limit": 1}, {"keys_only": True},
            {"limit": 1, "min_mod_revision": start + 5}, {"limit": -1}, {"serializable": True},
            {"revision": start + 3}, {"revision": start + 3, "limit": 2, "sort_order": 2},
            {"revision": 1}, {"revision": start + 999}, {"revision": -5},
            {"min_mod_revision": -1}, {"max_create_revision": start},
            {"count_only": True, "revision": start + 2},
            {"count_only": True, "max_mod_revision": start + 3},
            {"keys_only": True, "sort_target": 4, "sort_order": 2},
        )
    ]  # fmt: skip
    some += [
        _Range(), _Range(key=b"r/a", range_end=b"r/a"), _Range(key=b"r/c", range_end=b"r/a"),
        _Range(key=b"\0", range_end=b"\0", limit=1), _Range(key=b"r/c", range_end=b"\0"),
        _Range(key=b"r/c", range_end=b"\0", count_only=True), _Range(range_end=b"x"),
        _Range(key=b"r/c", limit=1), _Range(key=b"none", count_only=True),
    ]  # fmt: skip
    requests(both, *some)


def test_compaction_and_what_can_be_read_after_it(both: tuple[Stubs, Stubs]) -> None:
    def script(stubs: Stubs) -> list[str]:
        first = stubs.kv.Put(_Put(key=b"cc", value=b"1")).header.revision
        for value in (b"2", b"3"):
            stubs.kv.Put(_Put(key=b"cc", value=value))
        return [
            answer(kv_call(stubs, one), one)
            for one in (
                rpc_pb2.CompactionRequest(revision=first + 1, physical=True),
                rpc_pb2.CompactionRequest(revision=first + 1), rpc_pb2.CompactionRequest(),
                rpc_pb2.CompactionRequest(revision=first + 99), _Range(key=b"cc", revision=first),
                _Range(key=b"cc", revision=first + 1), _Range(key=b"cc", revision=first + 2),
                _Range(key=b"c", range_end=b"d", revision=first, count_only=True),
                _Txn(success=[op(_Range(key=b"cc", revision=first))]),
                _Txn(success=[op(_Range(key=b"cc", revision=first + 50))]),
                _Txn(success=[op(_Put(key=b"cc")), op(_Range(key=b"cc", revision=first + 3))]),
            )
        ]  # fmt: skip

    compare(both, script)


# --- transactions


def test_transactions_refused_and_nested(both: tuple[Stubs, Stubs]) -> None:
    nested = _Txn(
        compare=[_Compare(key=b"t1", target=_Compare.VALUE, value=b"v")],
        success=[put_op(b"t2", value=b"yes", prev_kv=True)],
        failure=[put_op(b"t3", value=b"no")],
    )
    deep = _Txn(success=[op(_Txn(success=[op(nested)])), op(_Range(key=b"t", range_end=b"u"))])
    requests(
        both,
        _Txn(), _Txn(success=[_Op()]), _Txn(success=[op(_Put())]), _Txn(success=[op(_Range())]),
        _Txn(success=[op(_Delete())]), _Txn(compare=[_Compare()]),
        _Txn(success=[put_op(b"t1", value=b"v"), put_op(b"t1")]),
        _Txn(success=[put_op(b"t1")], failure=[put_op(b"t1"), put_op(b"t1")]),
        _Txn(success=[put_op(b"t1"), op(_Delete(key=b"t1"))]),
        _Txn(success=[op(_Delete(key=b"t", range_end=b"u")), put_op(b"t9")]),
        _Txn(success=[put_op(b"t9"), op(_Delete(key=b"t", range_end=b"\0"))]),
        _Txn(success=[put_op(b"t1"), op(_Txn(success=[put_op(b"t1")]))]),
        _Txn(success=[op(_Txn(success=[put_op(b"t1")])), op(_Txn(failure=[put_op(b"t1")]))]),
        _Txn(success=[op(_Txn(success=[put_op(b"t1")], failure=[put_op(b"t1")]))]),
        _Txn(success=[op(_Delete(key=b"t1")), op(_Delete(key=b"t", range_end=b"u"))]),
        _Txn(success=[put_op(b"t%d" % n) for n in range(128)]),
        _Txn(success=[put_op(b"t%d" % n) for n in range(129)]),
        _Txn(compare=[_Compare(key=b"t1")] * 129),
        _Txn(success=[op(_Txn(success=[op(_Range(key=b"t"))] * 127))] * 2),
        _Txn(success=[op(_Txn(success=[op(_Range(key=b"t"))] * 126))] * 2),
        _Txn(success=[put_op(b"t1", value=b"v"), op(_Range(key=b"t1")), op(_Delete(key=b"t1"))]),
        _Txn(success=[put_op(b"t1", value=b"v")]),
        deep, deep,
        _Txn(success=[put_op(b"t1", ignore_value=True, value=b"x")]),
        _Txn(success=[put_op(b"t1", ignore_lease=True, lease=1)]),
        _Txn(success=[put_op(b"t1", ignore_value=True), op(_Range(key=b"t1"))]),
        _Txn(success=[put_op(b"none", ignore_value=True)]),
        _Txn(success=[put_op(b"t8"), put_op(b"none", ignore_lease=True)]),
        _Txn(success=[put_op(b"t8", lease=404)]),
        _Range(key=b"t8"),
    )  # fmt: skip


def test_every_comparison(both: tuple[Stubs, Stubs]) -> None:
    requests(both, _Put(key=b"cmp/1", value=b"m"), _Put(key=b"cmp/2", value=b"m"),
             _Put(key=b"cmp/2", value=b"n"))  # fmt: skip
    operands = {
        _Compare.VERSION: [{"version": n} for n in (0, 1, 2)],
        _Compare.CREATE: [{"create_revision": n} for n in (0, 1, 1 << 40)],
        _Compare.MOD: [{"mod_revision": n} for n in (0, 1, 1 << 40)],
        _Compare.VALUE: [{"value": v} for v in (b"", b"m", b"z")],
        _Compare.LEASE: [{"lease": n} for n in (0, 7)],
    }
    ranges = ({"key": b"cmp/1"}, {"key": b"none"}, {"key": b"cmp/", "range_end": b"cmp0"},
              {"key": b"cmp/2", "range_end": b"\0"}, {"key": b"x", "range_end": b"y"})  # fmt: skip
    requests(
        both,
        *(
            _Txn(compare=[_Compare(target=target, result=result, **where, **what)])
            for target, whats in operands.items()
            for what, result, where in product(whats, range(4), ranges)
        ),
        _Txn(compare=[_Compare(key=b"cmp/1", target=9)]),
        _Txn(compare=[_Compare(key=b"cmp/1", result=9)]),
        _Txn(compare=[_Compare(key=b"cmp/1", target=_Compare.VALUE, version=3)]),
        _Txn(compare=[_Compare(key=b"cmp/1", target=_Compare.MOD)]),
    )


def test_puts_and_deletes_refused(both: tuple[Stubs, Stubs]) -> None:
    requests(
        both,
        _Put(), _Put(key=b"p", lease=404), _Put(key=b"p", ignore_value=True),
        _Put(key=b"p", ignore_value=True, value=b"x"), _Put(key=b"p", ignore_lease=True, lease=5),
        _Put(key=b"p", prev_kv=True), _Put(key=b"p", value=b"2", prev_kv=True),
        _Put(key=b"p", ignore_value=True, ignore_lease=True, prev_kv=True), _Put(key=b"\xff\0"),
        _Put(key=b"p", value=b"x" * (3 << 19)), _Delete(), _Delete(key=b"p", range_end=b"a"),
        _Delete(key=b"p", prev_kv=True), _Delete(key=b"p"), _Delete(range_end=b"\0"),
        _Delete(key=b"\xff", range_end=b"\0", prev_kv=True),
    )  # fmt: skip


def test_random_operations(both: tuple[Stubs, Stubs]) -> None:
    """A long random mixture; every answer and at the end every version that is left."""
    chance = random.Random(20)
    keys = [b"rnd/%d" % n for n in range(6)]

    def simple() -> Message:
        key, end = chance.choice(keys), chance.choice([b"", b"", chance.choice(keys), b"rnd0"])
        match chance.randrange(4):
            case 0:
                return _Range(
                    key=key, range_end=end, limit=chance.randrange(3),
                    sort_order=chance.randrange(3), sort_target=chance.randrange(5),
                )  # fmt: skip
            case 1:
                return _Delete(key=key, range_end=end, prev_kv=chance.random() < 0.5)
        return _Put(key=key, value=b"%d" % chance.randrange(99), prev_kv=chance.random() < 0.5)

    def txn(depth: int = 0) -> Message:
        def branch() -> list[rpc_pb2.RequestOp]:
            some = [simple() for _ in range(chance.randrange(4))]
            if depth < 2 and chance.random() < 0.3:
                some.insert(chance.randrange(len(some) + 1), txn(depth + 1))
            return [op(one) for one in some]

        comparison = _Compare(
            key=chance.choice(keys), target=_Compare.VERSION, result=chance.randrange(4),
            version=chance.randrange(4),
        )  # fmt: skip
        return _Txn(compare=[comparison], success=branch(), failure=branch())

    script = [simple() if chance.random() < 0.6 else txn() for _ in range(300)]
    answers = requests(both, *script)
    assert any("duplicate key" in one for one in answers)  # else it was too tame
    last = both[0].revision()
    requests(both, *(_Range(key=b"rnd/", range_end=b"rnd0", revision=r)
                     for r in range(max(2, last - 40), last + 1)))  # fmt: skip


# --- leases


def test_leases(both: tuple[Stubs, Stubs]) -> None:
    def script(stubs: Stubs) -> list[str]:
        grant, revoke = stubs.lease.LeaseGrant, stubs.lease.LeaseRevoke
        left = stubs.lease.LeaseTimeToLive
        _Grant, _Left = rpc_pb2.LeaseGrantRequest, rpc_pb2.LeaseTimeToLiveRequest
        said = [
            answer(grant, _Grant(ID=5, TTL=600)), answer(grant, _Grant(ID=5, TTL=600)),
            answer(grant, _Grant(ID=-3, TTL=600)), answer(grant, _Grant(ID=6, TTL=1)),
            answer(grant, _Grant(ID=7, TTL=9_000_000_001)), answer(grant, _Grant(ID=8, TTL=0)),
            answer(grant, _Grant(ID=8, TTL=-1)),
            answer(grant, _Grant(ID=9, TTL=9_000_000_000)),
            answer(stubs.kv.Put, _Put(key=b"l/1", lease=5)),
            answer(stubs.kv.Put, _Put(key=b"l/2", lease=5)),
            answer(stubs.kv.Put, _Put(key=b"l/3", lease=-3)),
            *leases(stubs),
            without_ttl(answer(left, _Left(ID=5, keys=True))),
            without_ttl(answer(left, _Left(ID=5))), answer(left, _Left(ID=404, keys=True)),
            answer(left, _Left()), answer(revoke, rpc_pb2.LeaseRevokeRequest()),
            answer(revoke, rpc_pb2.LeaseRevokeRequest(ID=404)),
            answer(stubs.kv.Put, _Put(key=b"l/1", lease=-3)),
            answer(revoke, rpc_pb2.LeaseRevokeRequest(ID=5)),
            answer(stubs.kv.Range, _Range(key=b"l/", range_end=b"l0")),
            answer(revoke, rpc_pb2.LeaseRevokeRequest(ID=-3)),
            answer(stubs.kv.Range, _Range(key=b"l/", range_end=b"l0")),
        ]  # fmt: skip
        asked = [rpc_pb2.LeaseKeepAliveRequest(ID=one) for one in (9, 404, 0, 9)]
        said += [shown(one) for one in stubs.lease.LeaseKeepAlive(iter(asked), timeout=SECONDS)]
        for one in (6, 8, 9):
            answer(revoke, rpc_pb2.LeaseRevokeRequest(ID=one))
        return said

    compare(both, script)


def test_the_leader_lists_leases_by_what_is_left_of_them(pair: Pair) -> None:
    def listed(cluster: StoreCluster) -> list[int]:
        with channel(cluster, cluster.leader()) as opened:
            stubs = Stubs.on(opened)
            for lease, ttl in ((51, 300), (52, 100), (53, 200)):
                stubs.lease.LeaseGrant(rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl))
            answered = stubs.lease.LeaseLeases(rpc_pb2.LeaseLeasesRequest(), timeout=SECONDS)
            for lease in (51, 52, 53):
                stubs.lease.LeaseRevoke(rpc_pb2.LeaseRevokeRequest(ID=lease))
            return [one.ID for one in answered.leases if one.ID in (51, 52, 53)]

    assert pair.each(listed) == [[52, 53, 51]] * 2


def leases(stubs: Stubs) -> list[str]:
    """etcd's leader lists them by what is left of them, its followers in any order."""
    listed = stubs.lease.LeaseLeases(rpc_pb2.LeaseLeasesRequest(), timeout=SECONDS).leases
    return sorted(str(one.ID) for one in listed)


def without_ttl(text: str) -> str:
    """A second may have passed on one of them. Keys come in any order."""
    lines = (line for line in text.splitlines() if not line.startswith("TTL"))
    return "\n".join(sorted(lines))


# --- watches


def test_watch_streams(both: tuple[Stubs, Stubs]) -> None:
    """Ids, flags, filters, previous values, cancelling, one after the other on one stream."""

    def script(stubs: Stubs) -> list[str]:
        said = []
        now = stubs.revision()
        put = stubs.kv.Put
        with WatchStream(stubs) as stream:
            stream.create(key=b"s/", range_end=b"s0")
            said += stream.take(1)
            put(_Put(key=b"s/a", value=b"1"))
            put(_Put(key=b"other"))
            said += stream.take(1)
            stubs.kv.Txn(_Txn(success=[put_op(b"s/a", value=b"2"), put_op(b"s/b", value=b"1")]))
            said += stream.take(1)
            stream.create(key=b"s/a", watch_id=7, prev_kv=True, start_revision=now + 1)
            said += [*stream.take(1), *stream.take(1)]
            stream.create(key=b"s/b", watch_id=7)
            said += stream.take(1)
            stream.create(key=b"s/b")
            said += stream.take(1)
            stream.cancel(0)
            said += stream.take(1)
            stream.cancel(0)
            stream.cancel(404)
            stream.empty_request()
            stream.create(key=b"s/", range_end=b"s0", watch_id=9, filters=[_Create.NOPUT])
            said += stream.take(1)
            stream.create(
                key=b"s/", range_end=b"s0", watch_id=10, filters=[_Create.NODELETE], prev_kv=True
            )
            said += stream.take(1)
            stream.cancel(1)
            stream.cancel(7)
            said += stream.take(2)
            stubs.kv.DeleteRange(_Delete(key=b"s/", range_end=b"s0"))
            said += stream.take(1)
            put(_Put(key=b"s/c"))
            said += stream.take(1)
            stream.cancel(9)
            stream.cancel(10)
            said += stream.take(2)
            stream.create(key=b"b", range_end=b"a")
            stream.create(key=b"b", range_end=b"b")
            said += stream.take(2)
            stream.create(key=b"", range_end=b"\0", start_revision=stubs.revision() + 2)
            said += stream.take(1)
            put(_Put(key=b"before"))
            put(_Put(key=b"after"))
            said += stream.take(1)
            stream.create(key=b"s/c", watch_id=-4)
            said += stream.take(1)
        return said

    compare(both, script)


def test_watch_progress_and_compaction(both: tuple[Stubs, Stubs]) -> None:
    def script(stubs: Stubs) -> list[str]:
        first = stubs.kv.Put(_Put(key=b"wc", value=b"1")).header.revision
        for number in range(5):
            stubs.kv.Put(_Put(key=b"wc", value=b"%d" % number))
        stubs.kv.Compact(rpc_pb2.CompactionRequest(revision=first + 3, physical=True))
        said = []
        with WatchStream(stubs) as stream:
            stream.ask_progress()
            said += stream.take(1)
            stream.create(key=b"wc", start_revision=first)
            said += stream.take(2)
            stream.create(key=b"wc", start_revision=first + 3, prev_kv=True)
            said += [*stream.take(1), *events(stream, 3)]
            stream.create(key=b"quiet", progress_notify=True)
            said += stream.take(1)
            stream.ask_progress()
            said += stream.take(1)
        return said

    compare(both, script)


def events(stream: WatchStream, count: int) -> list[str]:
    """So many events, however they are spread over responses."""
    found: list[str] = []
    while len(found) < count:
        found += map(str, stream.next().events)
    return found


def test_watch_fragments(both: tuple[Stubs, Stubs]) -> None:
    """A revision of 3 MB comes whole, or in pieces to who allows that."""
    value = b"v" * 100_000

    def script(stubs: Stubs) -> list[str]:
        start = stubs.revision() + 1
        for number in range(30):
            stubs.kv.Put(_Put(key=b"f/%02d" % number, value=value))
        said = []
        with WatchStream(stubs) as stream:
            stream.create(key=b"f/", range_end=b"f0", start_revision=start, fragment=True)
            said += stream.take(1)
            names = []
            while len(names) < 30:
                response = stream.next()
                assert response.ByteSize() < 2 << 20
                names += [event.kv.key.decode() for event in response.events]
            said.append(" ".join(names))
        stubs.kv.DeleteRange(_Delete(key=b"f/", range_end=b"f0"))
        return said

    compare(both, script)


def test_many_watches_on_one_stream(both: tuple[Stubs, Stubs]) -> None:
    def script(stubs: Stubs) -> list[str]:
        with WatchStream(stubs) as stream:
            for number in range(100):
                stream.create(key=b"many/%d" % (number % 10))
            said = stream.take(100)
            for number in range(10):
                stubs.kv.Put(_Put(key=b"many/%d" % number))
            return said + sorted(stream.take(100))

    compare(both, script)


# --- locks and elections, as the store serves them


def test_lock_service(both: tuple[Stubs, Stubs]) -> None:
    def script(stubs: Stubs) -> list[str]:
        for lease in (21, 22, 23):
            stubs.lease.LeaseGrant(rpc_pb2.LeaseGrantRequest(ID=lease, TTL=600))
        lock, unlock = stubs.lock.Lock, stubs.lock.Unlock
        _Lock, _Unlock = lock_pb2.LockRequest, lock_pb2.UnlockRequest
        said = [
            answer(lock, _Lock(name=b"m", lease=21)), answer(lock, _Lock(name=b"m", lease=21)),
            answer(lock, _Lock(name=b"m", lease=404)), answer(unlock, _Unlock()),
        ]  # fmt: skip
        second = lock.future(_Lock(name=b"m", lease=22), timeout=SECONDS)
        wait_for_keys(stubs, b"m/", 2)
        third = lock.future(_Lock(name=b"m", lease=23), timeout=SECONDS)
        wait_for_keys(stubs, b"m/", 3)
        second.cancel()  # gives its place up
        wait_for_keys(stubs, b"m/", 2)
        said.append(answer(unlock, _Unlock(key=b"m/15")))
        said.append(shown(third.result()))
        said.append(answer(unlock, _Unlock(key=b"m/17")))
        said.append(answer(unlock, _Unlock(key=b"m/17")))
        said.append(answer(lock, _Lock(lease=22)))
        waiting = lock.future(_Lock(lease=23), timeout=SECONDS)
        wait_for_keys(stubs, b"/", 2)
        stubs.lease.LeaseRevoke(rpc_pb2.LeaseRevokeRequest(ID=22))
        said.append(shown(waiting.result()))
        for lease in (21, 23):
            stubs.lease.LeaseRevoke(rpc_pb2.LeaseRevokeRequest(ID=lease))
        anonymous = lock(_Lock(name=b"anonymous"), timeout=SECONDS)
        assert anonymous.key.startswith(b"anonymous/")
        lease = int(anonymous.key.split(b"/")[1], 16)
        left = stubs.lease.LeaseTimeToLive(rpc_pb2.LeaseTimeToLiveRequest(ID=lease))
        stubs.lease.LeaseRevoke(rpc_pb2.LeaseRevokeRequest(ID=lease))
        return [*said, str(left.grantedTTL)]

    compare(both, script)


def test_locks_and_elections_want_permission(pair: Pair, both: tuple[Stubs, Stubs]) -> None:
    """The services act in the client's name: they are no way around its permissions."""
    for line in (
        "user add root:r", "user grant-role root root", "role add some", "user add bob:b",
        "role grant-permission some readwrite may/ --prefix", "user grant-role bob some",
        "auth enable",
    ):  # fmt: skip
        pair.run(line)

    def script(stubs: Stubs) -> list[str]:
        token = stubs.auth.Authenticate(rpc_pb2.AuthenticateRequest(name="bob", password="b"))
        said = []
        for metadata in ((), (("token", token.token),)):

            def ask(call: Callable[..., Message], request: Message) -> None:
                said.append(answer(partial(call, metadata=metadata), request))  # noqa: B023  # now

            for name, lease in ((b"may", 41), (b"not", 42)):
                ask(stubs.lease.LeaseGrant, rpc_pb2.LeaseGrantRequest(ID=lease, TTL=600))
                ask(stubs.lock.Lock, lock_pb2.LockRequest(name=name, lease=lease))
                ask(stubs.lock.Unlock, lock_pb2.UnlockRequest(key=b"%b/%x" % (name, lease)))
                ask(
                    stubs.election.Campaign,
                    election_pb2.CampaignRequest(name=name, lease=lease, value=b"v"),
                )
                ask(stubs.election.Leader, election_pb2.LeaderRequest(name=name))
                leader = election_pb2.LeaderKey(key=b"%b/%x" % (name, lease), lease=lease)
                ask(stubs.election.Resign, election_pb2.ResignRequest(leader=leader))
                ask(stubs.lease.LeaseRevoke, rpc_pb2.LeaseRevokeRequest(ID=lease))
        return said

    try:
        answers = compare(both, script)
        assert any("permission denied" in one for one in answers)
    finally:
        for cluster in pair.both:
            cluster.etcdctl("--user=root:r", "auth", "disable")


def wait_for_keys(stubs: Stubs, prefix: bytes, count: int) -> None:
    end = prefix[:-1] + bytes([prefix[-1] + 1])
    wanted = _Range(key=prefix, range_end=end, count_only=True)
    wait_until(lambda: stubs.kv.Range(wanted).count == count, 60, f"{count} keys {prefix!r}")


def test_election_service(both: tuple[Stubs, Stubs]) -> None:
    def script(stubs: Stubs) -> list[str]:
        for lease in (31, 32):
            stubs.lease.LeaseGrant(rpc_pb2.LeaseGrantRequest(ID=lease, TTL=600))
        election = stubs.election
        _Campaign, _Leader = election_pb2.CampaignRequest, election_pb2.LeaderRequest
        said = [
            answer(election.Leader, _Leader(name=b"e")),
            answer(election.Proclaim, election_pb2.ProclaimRequest()),
            answer(election.Resign, election_pb2.ResignRequest()),
            answer(election.Campaign, _Campaign(name=b"e", lease=404)),
        ]
        observed, seen = observe(stubs, b"e")
        one = election.Campaign(_Campaign(name=b"e", lease=31, value=b"one"), timeout=SECONDS)
        leader = one.leader
        wait_until(lambda: len(seen) == 1, 60, "the first leader")
        said += [
            shown(one),
            answer(election.Leader, _Leader(name=b"e")),
            answer(election.Campaign, _Campaign(name=b"e", lease=31, value=b"one")),
            answer(election.Campaign, _Campaign(name=b"e", lease=31, value=b"uno")),
        ]
        wait_until(lambda: len(seen) == 2, 60, "the new value")
        second = election.Campaign.future(
            _Campaign(name=b"e", lease=32, value=b"two"), timeout=SECONDS
        )
        wait_for_keys(stubs, b"e/", 2)
        said.append(
            answer(election.Proclaim, election_pb2.ProclaimRequest(leader=leader, value=b"eins"))
        )
        wait_until(lambda: len(seen) == 3, 60, "the proclaimed value")
        stranger = election_pb2.LeaderKey(name=b"e", key=b"e/1f", rev=1, lease=31)
        said.append(
            answer(election.Proclaim, election_pb2.ProclaimRequest(leader=stranger, value=b"x"))
        )
        said.append(answer(election.Resign, election_pb2.ResignRequest(leader=stranger)))
        said.append(answer(election.Resign, election_pb2.ResignRequest(leader=leader)))
        said.append(shown(second.result()))
        wait_until(lambda: len(seen) == 4, 60, "the next leader")
        said.append(answer(election.Leader, _Leader(name=b"e")))
        observed.cancel()
        for lease in (31, 32):
            stubs.lease.LeaseRevoke(rpc_pb2.LeaseRevokeRequest(ID=lease))
        return said + seen

    compare(both, script)


def observe(stubs: Stubs, name: bytes) -> tuple[grpc.Call, list[str]]:
    """What an observer is told, gathered by a thread until it is cancelled."""
    seen: list[str] = []
    responses = stubs.election.Observe(election_pb2.LeaderRequest(name=name), timeout=200)

    def gather() -> None:
        try:
            for response in responses:
                seen.append(shown(response))
        except grpc.RpcError:
            return

    threading.Thread(target=gather, daemon=True).start()
    return responses, seen
