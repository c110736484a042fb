"""Keys, leases and watches."""

from __future__ import annotations

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.asking import Asking
from tests.differential.hunt.choose import MOST
from tests.differential.hunt.steps import COMPACTED, NOW, Close, Step, Watch


class KvSteps(Asking):
    def range(self) -> Step:
        request = self.chance.range()
        if self._members > 1:
            request.serializable = False  # a member may be behind
        return self.call("KV/Range", request)

    def put(self) -> Step:
        return self.call("KV/Put", self.chance.put())

    def delete(self) -> Step:
        return self.call("KV/DeleteRange", self.chance.delete())

    def txn(self) -> Step:
        request = self.chance.txn()
        if self._members > 1:
            _read_what_is_now(request)
        return self.call("KV/Txn", request)

    def wide_txn(self) -> list[Step]:
        """About as many operations as are allowed. Their keys do not stay: more than a dozen that
        are equal in what they are sorted by come in an order that only Go knows."""
        chance = self.chance
        count = chance.one((127, 128, 129, 130))
        request = rpc_pb2.TxnRequest()
        where = chance.one((request.compare, request.success, request.failure))
        for number in range(count):
            if where is request.compare:
                request.compare.add(key=b"w%d" % number)
            else:
                where.add(request_put=rpc_pb2.PutRequest(key=b"w%d" % number))
        if chance.maybe(0.5):
            outer = rpc_pb2.TxnRequest()
            outer.success.add(request_txn=request)
            request = outer
        gone = rpc_pb2.DeleteRangeRequest(key=b"w", range_end=b"x")
        return [self.call("KV/Txn", request), self.call("KV/DeleteRange", gone)]

    def compact(self) -> Step:
        chance = self.chance
        revision = chance.weighted(
            (
                (6, NOW - chance.below(6)), (2, NOW), (2, NOW + 1), (2, COMPACTED),
                (1, COMPACTED - 1), (1, COMPACTED + 1), (1, -1), (1, MOST),
            )
        )  # fmt: skip
        return self.call(
            "KV/Compact",
            rpc_pb2.CompactionRequest(revision=revision, physical=chance.maybe(0.5)),
        )

    # --- leases

    def grant(self) -> Step | list[Step]:
        chance = self.chance
        if chance.maybe(0.1):  # would soon be gone by itself
            lease, ttl = chance.one((9, 10)), chance.one((0, -1, 1, -(1 << 63)))
            return [
                self.call("Lease/LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl)),
                self.call("Lease/LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=lease)),
            ]
        ttl = chance.weighted(
            ((10, 1000), (4, 5000), (1, 9_000_000_000), (1, 9_000_000_001), (1, MOST))
        )
        return self.call(
            "Lease/LeaseGrant",
            rpc_pb2.LeaseGrantRequest(ID=chance.lease(), TTL=ttl),
        )

    def revoke(self) -> Step:
        return self.call("Lease/LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=self.chance.lease()))

    def time_to_live(self) -> Step:
        request = rpc_pb2.LeaseTimeToLiveRequest(
            ID=self.chance.lease(), keys=self.chance.maybe(0.7)
        )
        return self.call("Lease/LeaseTimeToLive", request)

    def keep_alive(self) -> Step:
        chance = self.chance
        requests = [
            rpc_pb2.LeaseKeepAliveRequest(ID=chance.lease())
            for _ in range(chance.one((1, 1, 2, 4)))
        ]
        return self.call("Lease/LeaseKeepAlive", *requests)

    def leases(self) -> Step:
        return self.call("Lease/LeaseLeases", rpc_pb2.LeaseLeasesRequest())

    # --- watches

    def watch(self) -> Step:
        chance = self.chance
        stream = chance.below(3)
        if chance.maybe(0.03):
            return Close(stream)
        kind = chance.weighted(((10, "create"), (4, "cancel"), (1, "progress"), (1, "")))
        request = rpc_pb2.WatchRequest()
        if kind == "create":
            request.create_request.CopyFrom(self._create())
        elif kind == "cancel":
            request.cancel_request.watch_id = chance.one((0, 1, 2, 3, 7, 8, -3, 404, -1))
        elif kind == "progress":
            request.progress_request.SetInParent()
        return Watch(stream, request, self.asked())

    def _create(self) -> rpc_pb2.WatchCreateRequest:
        chance = self.chance
        key, end = chance.span()
        return rpc_pb2.WatchCreateRequest(
            key=key,
            range_end=end,
            start_revision=chance.revision(),
            progress_notify=chance.maybe(0.1),
            filters=[chance.enum(2) for _ in range(chance.one((0, 0, 0, 1, 1, 2, 3)))],
            prev_kv=chance.maybe(0.4),
            watch_id=chance.one((0, 0, 0, 1, 2, 7, 8, -3)),  # -1 is what progress says
            fragment=chance.maybe(0.2),
        )


def _read_what_is_now(request: rpc_pb2.TxnRequest) -> None:
    """A read in the past may fail the transaction. In etcd 3.4 it does so only on the member that
    was asked, the others leave the reads out: from then on they hold different data."""
    for op in (*request.success, *request.failure):
        if op.HasField("request_range"):
            op.request_range.revision = 0
        elif op.HasField("request_txn"):
            _read_what_is_now(op.request_txn)
