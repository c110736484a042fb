"""Maintenance and changes of the membership, nearly all of which are refused."""

from __future__ import annotations

from kube.stubs.etcd import rpc_pb2
from tests.differential.hunt.asking import Asking
from tests.differential.hunt.steps import MEMBER, Step

_PEER_URLS = ("peer-0", "http://127.0.0.1:1", "http://localhost:2", "https://h:3")
# Refused by both. Ours refuses more: what cannot be dialled (no port, port 99999, a unix socket).
_BAD_URLS = (
    "", "nonsense", "http://127.0.0.1", "ftp://h:1", "http://h:1/path", "http://h:x", "http://h:1/",
    "//h:1", "http://[::1]:1x", "http://u@h:1/x", "http://h h:1", "http://h:1/?q", "http://h",
)  # fmt: skip
_REFUSED = (*_BAD_URLS, "peer-0")


class ClusterSteps(Asking):
    def alarm(self) -> Step | list[Step]:
        chance = self.chance
        request = rpc_pb2.AlarmRequest(
            action=chance.below(3) if chance.maybe(0.6) else 0,
            memberID=chance.one((0, MEMBER, MEMBER, 5)),
            alarm=chance.one((0, 1, 1, 2, 7)),
        )
        if request.action == 1 and not request.memberID and not request.alarm:
            request.memberID = 5  # etcd dies of it
        if request.action == 1 and self._users:
            request.action = 2  # etcd 3.4 forgets about permissions while there is an alarm
        return self.call("Maintenance/Alarm", request)

    def disarm(self) -> list[Step]:
        return [
            self.call(
                "Maintenance/Alarm",
                rpc_pb2.AlarmRequest(
                    action=rpc_pb2.AlarmRequest.DEACTIVATE, memberID=one, alarm=kind
                ),
            )
            for one in (0, MEMBER, 5)
            for kind in (0, 1, 2, 7)
        ]

    def maintain(self) -> Step:
        chance = self.chance
        path, request = chance.one(
            (
                ("Status", rpc_pb2.StatusRequest()),
                ("Defragment", rpc_pb2.DefragmentRequest()),
                ("Hash", rpc_pb2.HashRequest()),
                ("HashKV", rpc_pb2.HashKVRequest(revision=chance.revision())),
                ("HashKV", rpc_pb2.HashKVRequest(revision=chance.revision())),
                ("Snapshot", rpc_pb2.SnapshotRequest()),
                ("MoveLeader", rpc_pb2.MoveLeaderRequest(targetID=chance.one((0, MEMBER, 7)))),
            )
        )
        return self.call(f"Maintenance/{path}", request)

    # --- members

    def members(self) -> Step:
        chance = self.chance
        urls = [chance.one(_PEER_URLS) for _ in range(chance.one((0, 1, 1, 1, 2)))]
        member = chance.one((0, MEMBER, MEMBER, 5, (1 << 64) - 1))
        # A member that is added or moved for good would end a cluster of one.
        path, request = chance.one(
            (
                ("MemberList", rpc_pb2.MemberListRequest(linearizable=chance.maybe(0.5))),
                ("MemberAdd", rpc_pb2.MemberAddRequest(peerURLs=[*urls, chance.one(_REFUSED)])),
                (
                    "MemberAdd",
                    rpc_pb2.MemberAddRequest(peerURLs=[chance.one(_REFUSED)], isLearner=True),
                ),
                (
                    "MemberRemove",
                    rpc_pb2.MemberRemoveRequest(
                        ID=chance.one((0, 5, MEMBER if self._members == 1 else 6))
                    ),
                ),
                (
                    "MemberUpdate",
                    rpc_pb2.MemberUpdateRequest(ID=5, peerURLs=[*urls, chance.one(_BAD_URLS)]),
                ),
                (
                    "MemberUpdate",
                    rpc_pb2.MemberUpdateRequest(
                        ID=member,
                        peerURLs=["peer-0"] if self._members == 1 else ["peer-0", "peer-1"],
                    ),
                ),
                ("MemberPromote", rpc_pb2.MemberPromoteRequest(ID=member)),
            )
        )
        return self.call(f"Cluster/{path}", request)

    def learner(self) -> list[Step]:
        """One that never starts: it has no vote, so the cluster goes on."""
        chance = self.chance
        url = f"http://127.0.0.1:{1 + chance.below(3)}"
        return [
            self.call(
                "Cluster/MemberAdd", rpc_pb2.MemberAddRequest(peerURLs=[url], isLearner=True)
            ),
            self.call("Cluster/MemberList", rpc_pb2.MemberListRequest()),
            self.call(
                "Cluster/MemberUpdate", rpc_pb2.MemberUpdateRequest(ID=MEMBER, peerURLs=[url])
            ),
        ]
