"""etcd's errors, with its codes and texts: clients compare both (etcd api/v3rpc/rpctypes)."""

from __future__ import annotations

from kube.rpc.errors import Code, RpcError


class StoreError(RpcError):
    """The root of what the store raises to its clients."""


class EmptyKey(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: key is not provided"


class KeyNotFound(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: key not found"


class ValueProvided(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: value is provided"


class LeaseProvided(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: lease is provided"


class TooManyOps(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request"


class DuplicateKey(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"


class InvalidSortOption(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: invalid sort option"


class Compacted(StoreError):
    code = Code.OUT_OF_RANGE
    message = "etcdserver: mvcc: required revision has been compacted"


class FutureRevision(StoreError):
    code = Code.OUT_OF_RANGE
    message = "etcdserver: mvcc: required revision is a future revision"


class NoSpace(StoreError):
    code, message = Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"


class LeaseNotFound(StoreError):
    code, message = Code.NOT_FOUND, "etcdserver: requested lease not found"


class LeaseExists(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: lease already exists"


class LeaseTtlTooLarge(StoreError):
    code, message = Code.OUT_OF_RANGE, "etcdserver: too large lease TTL"


class RequestTooLarge(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: request is too large"


class NestedTooDeeply(StoreError):
    """Ours alone: etcd's decoder knows no such limit."""

    code, message = Code.INVALID_ARGUMENT, "etcdserver: request is nested too deeply"


class TooManyRequests(StoreError):
    code, message = Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests"


class NoLeader(StoreError):
    code, message = Code.UNAVAILABLE, "etcdserver: no leader"


class NotLeader(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: not leader"


class LeaderChanged(StoreError):
    code, message = Code.UNAVAILABLE, "etcdserver: leader changed"


class Stopped(StoreError):
    code, message = Code.UNAVAILABLE, "etcdserver: server stopped"


class RequestTimeout(StoreError):
    code, message = Code.UNAVAILABLE, "etcdserver: request timed out"


class TimeoutDueToLeaderFail(StoreError):
    code = Code.UNAVAILABLE
    message = "etcdserver: request timed out, possibly due to previous leader failure"


class BadLeaderTransferee(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: bad leader transferee"


class MemberNotFound(StoreError):
    code, message = Code.NOT_FOUND, "etcdserver: member not found"


class MemberExists(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: member ID already exist"


class PeerUrlExists(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: Peer URLs already exists"


class BadMemberUrls(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid"


class NotEnoughStarted(StoreError):
    code = Code.UNKNOWN  # etcd forgets to give it one
    message = "etcdserver: re-configuration failed due to not enough started members"


class Unhealthy(StoreError):
    code, message = Code.UNAVAILABLE, "etcdserver: unhealthy cluster"


class MemberNotLearner(StoreError):
    code = Code.FAILED_PRECONDITION
    message = "etcdserver: can only promote a learner member"


class LearnerNotReady(StoreError):
    code = Code.FAILED_PRECONDITION
    message = "etcdserver: can only promote a learner member which is in sync with leader"


class TooManyLearners(StoreError):
    code = Code.FAILED_PRECONDITION
    message = "etcdserver: too many learner members in cluster"


class NotForLearner(StoreError):
    code, message = Code.UNAVAILABLE, "etcdserver: rpc not supported for learner"


class Corrupt(StoreError):
    code, message = Code.DATA_LOSS, "etcdserver: corrupt cluster"


class MemberRemoved(Exception):
    """This member is in the cluster no more and must stop. Not sent to clients."""

    def __init__(self) -> None:
        super().__init__("the member has been permanently removed from the cluster")


class RootUserMissing(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: root user does not exist"


class RootRoleMissing(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: root user does not have root role"


class UserExists(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: user name already exists"


class UserEmpty(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: user name is empty"


class UserNotFound(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: user name not found"


class RoleExists(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: role name already exists"


class RoleNotFound(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: role name not found"


class RoleEmpty(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: role name is empty"


class AuthFailed(StoreError):
    code = Code.INVALID_ARGUMENT
    message = "etcdserver: authentication failed, invalid user ID or password"


class PasswordNotUsed(StoreError):
    code = Code.UNKNOWN  # etcd has no better one
    message = "auth: authentication failed, password was given for no password user"


class PermissionNotGiven(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: permission not given"


class PermissionDenied(StoreError):
    code, message = Code.PERMISSION_DENIED, "etcdserver: permission denied"


class RoleNotGranted(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: role is not granted to the user"


class PermissionNotGranted(StoreError):
    code = Code.FAILED_PRECONDITION
    message = "etcdserver: permission is not granted to the role"


class AuthNotEnabled(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"


class InvalidAuthToken(StoreError):
    code, message = Code.UNAUTHENTICATED, "etcdserver: invalid auth token"


class VerifyOnly(StoreError):
    code = Code.UNKNOWN  # etcd has no better one
    message = "auth: token signing attempted with verify-only key"


class InvalidAuthManagement(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: invalid auth management"


class AuthOldRevision(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"


class WrongDowngradeVersion(StoreError):
    code = Code.INVALID_ARGUMENT
    message = "etcdserver: wrong downgrade target version format"


class InvalidDowngradeTarget(StoreError):
    code, message = Code.INVALID_ARGUMENT, "etcdserver: invalid downgrade target version"


class NoInflightDowngrade(StoreError):
    code, message = Code.FAILED_PRECONDITION, "etcdserver: no inflight downgrade job"
