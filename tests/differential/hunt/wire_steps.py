"""What no client should send: unknown methods, broken messages, too much, too little."""

from __future__ import annotations

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.asking import Asking
from tests.differential.hunt.choose import Chance
from tests.differential.hunt.steps import Step

_UNKNOWN = (
    "KV/Nothing", "Nothing/Range", "KV/", "KV/range", "Lease/LeaseCheckpoint", "Lock/Nothing",
    "Maintenance/Nothing",
)  # fmt: skip
_UNKNOWN_FIELDS = (
    b"\xa0\x06\x01",
    b"\xa2\x06\x03abc",
    b"\xa5\x06abcd",
    b"\xa3\x06\xa4\x06",
    b"\xff",
)
_BROKEN = b"\x0a\x02\xff\xfe"  # field 1: no UTF-8
_ODD_NAMES = (
    ("Auth/UserAdd", _BROKEN), ("Auth/UserGet", _BROKEN), ("Auth/UserDelete", _BROKEN),
    ("Auth/RoleAdd", _BROKEN), ("Auth/RoleGet", _BROKEN), ("Auth/RoleDelete", _BROKEN),
    ("Auth/Authenticate", _BROKEN),
    ("Auth/UserGrantRole", _BROKEN + b"\x12\x01x"), ("Cluster/MemberAdd", _BROKEN),
    ("Auth/RoleGrantPermission", _BROKEN + b"\x12\x00"), ("Auth/UserChangePassword", _BROKEN),
    ("Auth/UserAdd", b"\x0a\x00"), ("Auth/UserAdd", b"\x0a\x03\xc3\xa9\x00"),
    ("Auth/UserGet", b"\x0a\x03\xc3\xa9\x00"),
)  # fmt: skip


class WireSteps(Asking):
    def wire(self) -> Step:
        chance = self.chance
        kind = chance.below(8)
        path, request = chance.one(
            (
                ("KV/Range", self.chance.range()), ("KV/Put", self.chance.put()),
                ("KV/Txn", self.chance.txn() if self._members == 1 else rpc_pb2.TxnRequest()),
                ("Lease/LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=7)),
                ("Auth/RoleAdd", rpc_pb2.AuthRoleAddRequest(name="x")),
                ("Maintenance/Status", rpc_pb2.StatusRequest()),
                ("Cluster/MemberList", rpc_pb2.MemberListRequest()),
            )
        )  # fmt: skip
        if kind == 0:
            return self.call(chance.one(_UNKNOWN), request)
        if kind == 1:
            # Of what writes nothing: where one of the two reads more into it, they stay alike.
            path, request = chance.one(
                (
                    ("KV/Range", chance.range()),
                    ("Auth/RoleGet", rpc_pb2.AuthRoleGetRequest(role="x")),
                    ("Lease/LeaseTimeToLive", rpc_pb2.LeaseTimeToLiveRequest(ID=7, keys=True)),
                    ("Maintenance/HashKV", rpc_pb2.HashKVRequest(revision=1)),
                )
            )
            return self.call(path, _damaged(chance, request.SerializeToString()))
        if kind == 2:
            return self.call(path)
        if kind == 3:
            return self.call("Maintenance/Status", *[rpc_pb2.StatusRequest()] * 2)
        if kind == 4:
            value = b"v" * (3 * (1 << 19) + chance.one((-200, -100, -60, 0, 100, 1 << 18, 1 << 19)))
            put = rpc_pb2.PutRequest(key=b"big", value=value)
            if chance.maybe(0.3):
                big = rpc_pb2.TxnRequest()
                big.success.add(request_put=put)
                return self.call("KV/Txn", big)
            return self.call("KV/Put", put)
        if kind == 5:
            return self.call(path, request, compressed=True)
        if kind == 6:
            return self.call(path, request.SerializeToString() + chance.one(_UNKNOWN_FIELDS))
        return self.call(*chance.one(_ODD_NAMES))


def _damaged(chance: Chance, data: bytes) -> bytes:
    broken = bytearray(data or b"\x0a\x01x")
    for _ in range(1 + chance.below(3)):
        match chance.below(3):
            case 0:
                broken[chance.below(len(broken))] ^= 1 << chance.below(8)
            case 1:
                del broken[chance.below(len(broken)) :]
            case _:
                broken.insert(chance.below(len(broken) + 1), chance.below(256))
        broken = broken or bytearray(b"\x0a")
    return bytes(broken)
