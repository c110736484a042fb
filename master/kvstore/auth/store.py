"""The replicated part: users, roles, permissions and the auth revision (etcd: auth/store.go).

Commands come in the log's order; every change makes a new auth revision, so that a request that
was allowed by older rules is asked about again when it is applied.
"""

from __future__ import annotations

from bisect import bisect_left, insort_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kube.stubs.etcd import auth_pb2, command_pb2, rpc_pb2
from master.kvstore.auth import permissions
from master.kvstore.errors import (
    AuthNotEnabled,
    AuthOldRevision,
    InvalidAuthManagement,
    PermissionDenied,
    PermissionNotGiven,
    PermissionNotGranted,
    RoleEmpty,
    RoleExists,
    RoleNotFound,
    RoleNotGranted,
    RootRoleMissing,
    RootUserMissing,
    UserEmpty,
    UserExists,
    UserNotFound,
)

ROOT = "root"  # the user, and the role that may do everything
_Permission = auth_pb2.Permission


@dataclass(slots=True)
class User:
    password: str = ""  # hashed; empty: none, by certificate only
    roles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the rules of which revision. Nobody: no name."""

    user: str = ""
    revision: int = 0


class AuthStore:
    def __init__(self) -> None:
        self.enabled = False
        self.revision = 1
        self.users: dict[str, User] = {}
        self.roles: dict[str, list[_Permission]] = {}

    # --- who may what

    def check_range(self, caller: Caller, key: bytes, range_end: bytes) -> None:
        self._check(caller, permissions.READ, key, range_end)

    def check_write(self, caller: Caller, key: bytes, range_end: bytes = b"") -> None:
        self._check(caller, permissions.WRITE, key, range_end)

    def check_admin(self, caller: Caller) -> None:
        if not self.enabled:
            return
        if not caller.user:
            raise UserEmpty
        if ROOT not in self.user(caller.user).roles:
            raise PermissionDenied

    def _check(self, caller: Caller, wanted: int, key: bytes, range_end: bytes) -> None:
        if not self.enabled:
            return
        if not caller.user or not caller.revision:
            raise UserEmpty
        if caller.revision < self.revision:
            raise AuthOldRevision
        user = self.users.get(caller.user)
        if user is None:
            raise PermissionDenied
        if ROOT in user.roles:
            return
        given = [p for role in user.roles for p in self.roles.get(role, ())]
        if not permissions.allows(given, wanted, key, range_end):
            raise PermissionDenied

    def check_current(self, caller: Caller) -> None:
        """What is read here and now is not judged by rules that this member has yet to hear of,
        as a signed token of another member's may name them (etcd: doSerialize)."""
        if self.enabled and caller.revision != self.revision:
            raise AuthOldRevision

    # --- reading

    def user(self, name: str) -> User:
        user = self.users.get(name)
        if user is None:
            raise UserNotFound
        return user

    def role(self, name: str) -> list[_Permission]:
        role = self.roles.get(name)
        if role is None:
            raise RoleNotFound
        return role

    # --- changes

    def apply(self, kind: str, request: Any) -> Any:
        change, response = _CHANGES[kind]
        if change(self, request) is not False:
            self.revision += 1
        return response()

    def _enable(self, _: rpc_pb2.AuthEnableRequest) -> bool:
        if not self.enabled:
            root = self.users.get(ROOT)
            if root is None:
                raise RootUserMissing
            if ROOT not in root.roles:
                raise RootRoleMissing
            self.enabled = True
        return False  # the same rules as before, so the same revision

    def _disable(self, _: rpc_pb2.AuthDisableRequest) -> bool:
        before, self.enabled = self.enabled, False
        return before

    def _authenticate(self, token: command_pb2.Token) -> bool:
        if not self.enabled:
            raise AuthNotEnabled
        if token.auth_revision != self.revision:
            raise AuthOldRevision
        return False

    def _user_add(self, request: rpc_pb2.AuthUserAddRequest) -> None:
        if not request.name:
            raise UserEmpty
        if request.name in self.users:
            raise UserExists
        self.users[request.name] = User(request.hashedPassword)

    def _user_delete(self, request: rpc_pb2.AuthUserDeleteRequest) -> None:
        if self.enabled and request.name == ROOT:
            raise InvalidAuthManagement
        self.user(request.name)
        del self.users[request.name]

    def _user_change_password(self, request: rpc_pb2.AuthUserChangePasswordRequest) -> None:
        self.user(request.name).password = request.hashedPassword

    def _user_grant_role(self, request: rpc_pb2.AuthUserGrantRoleRequest) -> bool:
        user = self.user(request.user)
        if request.role != ROOT:
            self.role(request.role)
        if request.role in user.roles:
            return False
        user.roles = sorted([*user.roles, request.role])
        return True

    def _user_revoke_role(self, request: rpc_pb2.AuthUserRevokeRoleRequest) -> None:
        if self.enabled and request.name == ROOT and request.role == ROOT:
            raise InvalidAuthManagement
        user = self.user(request.name)
        if request.role not in user.roles:
            raise RoleNotGranted
        user.roles = [role for role in user.roles if role != request.role]

    def _role_add(self, request: rpc_pb2.AuthRoleAddRequest) -> None:
        if not request.name:
            raise RoleEmpty
        if request.name in self.roles:
            raise RoleExists
        self.roles[request.name] = []

    def _role_delete(self, request: rpc_pb2.AuthRoleDeleteRequest) -> None:
        if self.enabled and request.role == ROOT:
            raise InvalidAuthManagement
        self.role(request.role)
        del self.roles[request.role]
        for user in self.users.values():
            user.roles = [role for role in user.roles if role != request.role]

    def _role_grant_permission(self, request: rpc_pb2.AuthRoleGrantPermissionRequest) -> None:
        if not request.HasField("perm"):
            raise PermissionNotGiven
        wanted = request.perm
        if wanted.range_end not in (b"", b"\0") and wanted.range_end <= wanted.key:
            raise InvalidAuthManagement
        given = self.role(request.name)
        same_key = bisect_left(given, wanted.key, key=_key)
        if same_key < len(given) and _range(given[same_key]) == _range(wanted):
            given[same_key].permType = wanted.permType
        else:  # as in etcd, also when the same range is there behind others of the same key
            insort_right(given, wanted, key=_key)

    def _role_revoke_permission(self, request: rpc_pb2.AuthRoleRevokePermissionRequest) -> None:
        given = self.role(request.role)
        left = [p for p in given if _range(p) != (request.key, request.range_end)]
        if len(left) == len(given):
            raise PermissionNotGranted
        self.roles[request.role] = left


def _key(permission: _Permission) -> bytes:
    return permission.key


def _range(permission: _Permission) -> tuple[bytes, bytes]:
    return permission.key, permission.range_end


_Change = tuple[Callable[[AuthStore, Any], bool | None], Callable[[], Any]]
_CHANGES: dict[str, _Change] = {
    "auth_enable": (AuthStore._enable, rpc_pb2.AuthEnableResponse),
    "auth_disable": (AuthStore._disable, rpc_pb2.AuthDisableResponse),
    "authenticate": (AuthStore._authenticate, rpc_pb2.AuthenticateResponse),
    "user_add": (AuthStore._user_add, rpc_pb2.AuthUserAddResponse),
    "user_delete": (AuthStore._user_delete, rpc_pb2.AuthUserDeleteResponse),
    "user_change_password": (
        AuthStore._user_change_password,
        rpc_pb2.AuthUserChangePasswordResponse,
    ),
    "user_grant_role": (AuthStore._user_grant_role, rpc_pb2.AuthUserGrantRoleResponse),
    "user_revoke_role": (AuthStore._user_revoke_role, rpc_pb2.AuthUserRevokeRoleResponse),
    "role_add": (AuthStore._role_add, rpc_pb2.AuthRoleAddResponse),
    "role_delete": (AuthStore._role_delete, rpc_pb2.AuthRoleDeleteResponse),
    "role_grant_permission": (
        AuthStore._role_grant_permission,
        rpc_pb2.AuthRoleGrantPermissionResponse,
    ),
    "role_revoke_permission": (
        AuthStore._role_revoke_permission,
        rpc_pb2.AuthRoleRevokePermissionResponse,
    ),
}
AUTH_KINDS = frozenset(_CHANGES)
