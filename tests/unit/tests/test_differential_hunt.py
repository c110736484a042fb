"""The parts of the random comparison with stock etcd that need no store."""

from __future__ import annotations

from collections.abc import Sequence

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.compare import Difference, shrink
from tests.differential.hunt.generate import THEMES, sequence
from tests.differential.hunt.steps import COMPACTED, MEMBER, NOW, Call, Names, Step


def put(number: int) -> Call:
    return Call("KV/Put", (rpc_pb2.PutRequest(key=b"%d" % number),))


def test_what_does_not_matter_is_left_out() -> None:
    steps = [put(number) for number in range(20)]

    def differs(some: Sequence[Step]) -> Difference | None:
        if steps[3] in some and steps[11] in some:
            return Difference(some.index(steps[11]), steps[11], "this", "that")
        return None

    assert shrink(steps, differs, attempts=200) == [steps[3], steps[11]]


def test_stand_ins_mean_what_is_there_at_the_moment() -> None:
    names = Names(now=50, compacted=20, members=[7, 8], peer_urls={"peer-0": "https://h:1"})
    asked = rpc_pb2.RangeRequest(
        key=b"k", revision=NOW - 3, min_mod_revision=COMPACTED + 1, limit=5, max_mod_revision=-1
    )
    got = rpc_pb2.RangeRequest.FromString(names.body(asked))
    assert (got.revision, got.min_mod_revision, got.limit, got.max_mod_revision) == (47, 21, 5, -1)
    compare = rpc_pb2.Compare(key=b"k", mod_revision=NOW)
    txn = rpc_pb2.TxnRequest(compare=[compare])
    assert rpc_pb2.TxnRequest.FromString(names.body(txn)).compare[0].mod_revision == 50
    update = rpc_pb2.MemberUpdateRequest(ID=MEMBER + 1, peerURLs=["peer-0", "http://x:1"])
    moved = rpc_pb2.MemberUpdateRequest.FromString(names.body(update))
    assert (moved.ID, list(moved.peerURLs)) == (8, ["https://h:1", "http://x:1"])
    assert txn.compare[0].mod_revision == NOW  # the step itself stays as it was


def test_a_seed_makes_the_same_sequence_again() -> None:
    for seed in range(len(THEMES)):
        once = [str(step) for step in sequence(seed, 50, 3)]
        assert once == [str(step) for step in sequence(seed, 50, 3)]
        assert len(once) >= 50
