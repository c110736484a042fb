"""Users, roles, permissions, tokens."""

from __future__ import annotations

from collections.abc import Iterator

from kube.stubs.etcd import auth_pb2, rpc_pb2
from tests.differential.hunt.asking import Asking
from tests.differential.hunt.steps import Asked, Step

USERS = ("root", "alice", "bob", "kvstore-client")
ROLES = ("root", "r1", "r2")
PASSWORDS = ("one", "two")
_NewPassword = rpc_pb2.AuthUserChangePasswordRequest


class AuthSteps(Asking):
    def rules(self) -> Iterator[Step]:
        """Users with passwords and roles; sooner or later the rules count."""
        chance = self.chance
        nobody = Asked()
        for user in USERS:
            if chance.maybe(0.9):
                request = rpc_pb2.AuthUserAddRequest(name=user, password=PASSWORDS[0])
                yield self.call("Auth/UserAdd", request, asked=nobody)
        for role in ROLES:
            yield self.call("Auth/RoleAdd", rpc_pb2.AuthRoleAddRequest(name=role), asked=nobody)
        for user, role in (("root", "root"), ("alice", "r1"), ("bob", "r2")):
            request = rpc_pb2.AuthUserGrantRoleRequest(user=user, role=role)
            yield self.call("Auth/UserGrantRole", request, asked=nobody)
        for _ in range(4):
            yield self.call("Auth/RoleGrantPermission", self._permission(), asked=nobody)
        yield self.call("Auth/AuthEnable", rpc_pb2.AuthEnableRequest(), asked=nobody)
        for user in USERS:
            yield self.log_in(user)

    def log_in(self, user: str = "") -> Step:
        chance = self.chance
        request = rpc_pb2.AuthenticateRequest(
            name=user or chance.one((*USERS, "ghost", "")),
            password=PASSWORDS[0] if user else chance.one((*PASSWORDS, "")),
        )
        return self.call("Auth/Authenticate", request)

    def _permission(self) -> rpc_pb2.AuthRoleGrantPermissionRequest:
        chance = self.chance
        request = rpc_pb2.AuthRoleGrantPermissionRequest(name=chance.one((*ROLES, "r1", "ghost")))
        # Without one, or with one that ends before it starts, etcd 3.4 dies or does other things.
        key, end = chance.key(), chance.end()
        request.perm.CopyFrom(
            auth_pb2.Permission(
                permType=chance.enum(3),
                key=key,
                range_end=end if end > key or end == b"\0" else b"",
            )
        )
        return request

    def auth(self) -> Step:
        chance = self.chance
        user, role = chance.one((*USERS, "ghost")), chance.one((*ROLES, "ghost"))
        if chance.maybe(0.05):
            user = ""
        if chance.maybe(0.05):
            role = ""
        password = chance.one((*PASSWORDS, ""))
        path, request = chance.weighted(
            (
                (2, ("AuthEnable", rpc_pb2.AuthEnableRequest())),
                (0.7, ("AuthDisable", rpc_pb2.AuthDisableRequest())),
                (3, ("UserAdd", self._user(user, password))),
                (2, ("UserGet", rpc_pb2.AuthUserGetRequest(name=user))),
                (1, ("UserList", rpc_pb2.AuthUserListRequest())),
                (1, ("UserDelete", rpc_pb2.AuthUserDeleteRequest(name=user))),
                (2, ("UserChangePassword", _NewPassword(name=user, password=password))),
                (3, ("UserGrantRole", rpc_pb2.AuthUserGrantRoleRequest(user=user, role=role))),
                (2, ("UserRevokeRole", rpc_pb2.AuthUserRevokeRoleRequest(name=user, role=role))),
                (2, ("RoleAdd", rpc_pb2.AuthRoleAddRequest(name=role))),
                (2, ("RoleGet", rpc_pb2.AuthRoleGetRequest(role=role))),
                (1, ("RoleList", rpc_pb2.AuthRoleListRequest())),
                (1, ("RoleDelete", rpc_pb2.AuthRoleDeleteRequest(role=role))),
                (5, ("RoleGrantPermission", self._permission())),
                (3, ("RoleRevokePermission", self._revoked(role))),
            )
        )
        return self.call(f"Auth/{path}", request)

    def _user(self, name: str, password: str) -> rpc_pb2.AuthUserAddRequest:
        request = rpc_pb2.AuthUserAddRequest(name=name, password=password)
        if self.chance.maybe(0.5):
            request.options.no_password = self.chance.maybe(0.3)
        return request

    def _revoked(self, role: str) -> rpc_pb2.AuthRoleRevokePermissionRequest:
        key, end = self.chance.key(), self.chance.end()
        return rpc_pb2.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=end)
