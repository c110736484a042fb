"""The replicated state machine: commands in the log's order in, responses and changes out.

Deterministic: all members that applied the same commands hold the same state. It holds the
key-values, the leases, the alarms and the members' names and client URLs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.auth import rules
from master.kvstore.auth.store import AUTH_KINDS, AuthStore, Caller
from master.kvstore.errors import Corrupt, NoSpace, StoreError
from master.kvstore.failpoint import hit
from master.kvstore.lease.lessor import Lessor
from master.kvstore.members import Members
from master.kvstore.mvcc import txn as txns
from master.kvstore.mvcc.records import Change
from master.kvstore.mvcc.store import Mvcc


class Applied(msgspec.Struct, frozen=True):
    """The outcome of one command. `response` has a header with the revision only, or is an
    `Answer`; a put has none, for its one change says it all and only the proposer asks."""

    command: command_pb2.Command
    kind: str = ""
    response: Any = None
    error: StoreError | None = None
    changes: list[Change] = []  # msgspec makes a new one each time


class Machine:
    """Everything that a snapshot carries."""

    def __init__(self) -> None:
        self.mvcc = Mvcc()
        self.lessor = Lessor()
        self.alarms: set[tuple[int, int]] = set()  # (member id, alarm type)
        self.members = Members()
        self.auth = AuthStore()

    @property
    def corrupt(self) -> bool:
        return bool(self.alarms) and any(alarm == rpc_pb2.CORRUPT for _, alarm in self.alarms)

    @property
    def out_of_space(self) -> bool:
        return bool(self.alarms) and any(alarm == rpc_pb2.NOSPACE for _, alarm in self.alarms)

    def apply(self, payload: bytes) -> Applied:
        """Apply one entry's data. A refused command is an outcome, not a failure."""
        command = command_pb2.Command.FromString(payload)
        kind = command.WhichOneof("request")
        if kind is None:
            return Applied(command)
        request = getattr(command, kind)
        changes: list[Change] = []
        try:
            if self.auth.enabled:
                caller = Caller(command.user, command.auth_revision)
                rules.check_command(self.auth, self.lessor, caller, kind, request)
            if kind in AUTH_KINDS:
                return Applied(command, kind, self.auth.apply(kind, request))
            if self.corrupt and kind in _NOT_WHEN_CORRUPT:
                raise Corrupt
            response = _HANDLERS[kind](self, request, changes)
        except StoreError as error:
            return Applied(command, kind, error=error)
        self.lessor.follow(changes)
        return Applied(command, kind, response, changes=changes)

    def _put(self, request: rpc_pb2.PutRequest, changes: list[Change]) -> None:
        self._check_space()
        changes.append(txns.put(self.mvcc, request, self.lessor))

    def _delete_range(
        self, request: rpc_pb2.DeleteRangeRequest, changes: list[Change]
    ) -> txns.Answer:
        txn = self.mvcc.begin()
        response = txns.delete_range(txn, request)
        changes += txn.end()
        return response

    def _txn(self, request: rpc_pb2.TxnRequest, changes: list[Change]) -> txns.Answer:
        if self.out_of_space and _puts(request):
            raise NoSpace
        txn = self.mvcc.begin()
        response = txns.execute(self.mvcc, txn, request, self.lessor)
        changes += txn.end()
        return response

    def _compaction(
        self, request: rpc_pb2.CompactionRequest, _: list[Change]
    ) -> rpc_pb2.CompactionResponse:
        hit("mvcc-before-compact")
        self.mvcc.compact(request.revision)
        hit("mvcc-after-compact")
        return rpc_pb2.CompactionResponse(header=self._header())

    def _lease_grant(
        self, request: rpc_pb2.LeaseGrantRequest, _: list[Change]
    ) -> rpc_pb2.LeaseGrantResponse:
        self._check_space()
        lease = self.lessor.grant(request.ID, request.TTL)
        return rpc_pb2.LeaseGrantResponse(header=self._header(), ID=lease.id, TTL=lease.ttl_seconds)

    def _lease_revoke(
        self, request: rpc_pb2.LeaseRevokeRequest, changes: list[Change]
    ) -> rpc_pb2.LeaseRevokeResponse:
        """All keys of the lease vanish in one revision."""
        txn = self.mvcc.begin()
        for key in self.lessor.revoke(request.ID):
            txn.delete_range(key, b"")
        changes += txn.end()
        self.lessor.forget(request.ID)
        return rpc_pb2.LeaseRevokeResponse(header=self._header())

    def _alarm(self, request: rpc_pb2.AlarmRequest, _: list[Change]) -> rpc_pb2.AlarmResponse:
        """One alarm of one member: nothing stands for all of them, as in etcd."""
        touched = {(request.memberID, int(request.alarm))}
        if request.action == rpc_pb2.AlarmRequest.ACTIVATE:
            # Nobody's alarm about nothing would have an empty key in a snapshot; etcd dies of it.
            if request.memberID or request.alarm:
                self.alarms |= touched
        elif request.action == rpc_pb2.AlarmRequest.DEACTIVATE:
            touched &= self.alarms
            self.alarms -= touched
        return alarm_response(self._header(), touched)

    def _member_attributes(self, request: rpc_pb2.Member, _: list[Change]) -> None:
        self.members.publish(request)

    def _member_add(self, request: rpc_pb2.Member, _: list[Change]) -> rpc_pb2.MemberAddResponse:
        self.members.add(request)
        return rpc_pb2.MemberAddResponse(member=request, members=self.members.listed())

    def _member_remove(
        self, request: rpc_pb2.MemberRemoveRequest, _: list[Change]
    ) -> rpc_pb2.MemberRemoveResponse:
        self.members.remove(request.ID)
        self.alarms = {alarm for alarm in self.alarms if alarm[0] != request.ID}
        return rpc_pb2.MemberRemoveResponse(members=self.members.listed())

    def _member_update(
        self, request: rpc_pb2.MemberUpdateRequest, _: list[Change]
    ) -> rpc_pb2.MemberUpdateResponse:
        self.members.update(request.ID, request.peerURLs)
        return rpc_pb2.MemberUpdateResponse(members=self.members.listed())

    def _member_promote(
        self, request: rpc_pb2.MemberPromoteRequest, _: list[Change]
    ) -> rpc_pb2.MemberPromoteResponse:
        self.members.promote(request.ID)
        return rpc_pb2.MemberPromoteResponse(members=self.members.listed())

    def _check_space(self) -> None:
        if self.out_of_space:
            raise NoSpace

    def _header(self) -> rpc_pb2.ResponseHeader:
        return rpc_pb2.ResponseHeader(revision=self.mvcc.revision)


def alarm_response(
    header: rpc_pb2.ResponseHeader, alarms: set[tuple[int, int]]
) -> rpc_pb2.AlarmResponse:
    response = rpc_pb2.AlarmResponse(header=header)
    for member, alarm in sorted(alarms):
        response.alarms.add(memberID=member, alarm=rpc_pb2.AlarmType.ValueType(alarm))
    return response


def _puts(request: rpc_pb2.TxnRequest) -> bool:
    return any(
        op.HasField("request_put") or (op.HasField("request_txn") and _puts(op.request_txn))
        for op in (*request.success, *request.failure)
    )


# While members may hold different data nothing is written. Reads are answered: etcd's are, too.
_NOT_WHEN_CORRUPT = frozenset(
    ("put", "delete_range", "txn", "compaction", "lease_grant", "lease_revoke")
)
_HANDLERS: dict[str, Callable[..., Any]] = {
    "put": Machine._put,
    "delete_range": Machine._delete_range,
    "txn": Machine._txn,
    "compaction": Machine._compaction,
    "lease_grant": Machine._lease_grant,
    "lease_revoke": Machine._lease_revoke,
    "alarm": Machine._alarm,
    "member_attributes": Machine._member_attributes,
    "member_add": Machine._member_add,
    "member_remove": Machine._member_remove,
    "member_update": Machine._member_update,
    "member_promote": Machine._member_promote,
}
