"""Which permissions a request needs (etcd: server/etcdserver/apply_auth.go)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kube.stubs.etcd import rpc_pb2
from master.kvstore.auth.store import AUTH_KINDS, AuthStore, Caller
from master.kvstore.lease.lessor import Lessor


def check_command(auth: AuthStore, lessor: Lessor, caller: Caller, kind: str, request: Any) -> None:
    """Raise unless `caller` may have this command applied."""
    if not auth.enabled:
        return
    if kind in AUTH_KINDS and kind != "authenticate":
        auth.check_admin(caller)
    elif kind in _CHECKS:
        _CHECKS[kind](auth, lessor, caller, request)


def check_range(auth: AuthStore, caller: Caller, request: rpc_pb2.RangeRequest) -> None:
    auth.check_range(caller, request.key, request.range_end)


def check_txn(auth: AuthStore, lessor: Lessor, caller: Caller, request: rpc_pb2.TxnRequest) -> None:
    """Both branches must be allowed, whichever runs, and what is compared is read."""
    for compare in request.compare:
        auth.check_range(caller, compare.key, compare.range_end)
    for op in (*request.success, *request.failure):
        match op.WhichOneof("request"):
            case "request_range":
                check_range(auth, caller, op.request_range)
            case "request_put":
                _check_put(auth, lessor, caller, op.request_put)
            case "request_delete_range":
                _check_delete(auth, lessor, caller, op.request_delete_range)
            case "request_txn":
                check_txn(auth, lessor, caller, op.request_txn)


def check_keys_readable(auth: AuthStore, caller: Caller, keys: Iterable[bytes]) -> None:
    for key in keys:
        auth.check_range(caller, key, b"")


def _check_put(
    auth: AuthStore, lessor: Lessor, caller: Caller, request: rpc_pb2.PutRequest
) -> None:
    auth.check_write(caller, request.key)
    if request.lease:
        # The lease's end deletes all that hang on it: who joins them must be allowed to.
        _check_lease(auth, lessor, caller, request.lease)
    if request.prev_kv:
        auth.check_range(caller, request.key, b"")


def _check_delete(
    auth: AuthStore, _: Lessor, caller: Caller, request: rpc_pb2.DeleteRangeRequest
) -> None:
    auth.check_write(caller, request.key, request.range_end)
    if request.prev_kv:
        auth.check_range(caller, request.key, request.range_end)


def _check_revoke(
    auth: AuthStore, lessor: Lessor, caller: Caller, request: rpc_pb2.LeaseRevokeRequest
) -> None:
    _check_lease(auth, lessor, caller, request.ID)


def _check_lease(auth: AuthStore, lessor: Lessor, caller: Caller, lease_id: int) -> None:
    lease = lessor.leases.get(lease_id)
    for key in sorted(lease.keys) if lease else ():
        auth.check_write(caller, key)


_CHECKS: dict[str, Callable[[AuthStore, Lessor, Caller, Any], None]] = {
    "put": _check_put,
    "delete_range": _check_delete,
    "txn": check_txn,
    "lease_revoke": _check_revoke,
}
