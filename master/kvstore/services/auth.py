"""etcdserverpb.Auth: changes go through the log with hashed passwords, tokens come from it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from kube.rpc.service import CallContext
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.auth import password
from master.kvstore.errors import AuthFailed, AuthNotEnabled, AuthOldRevision, PasswordNotUsed
from master.kvstore.node import Node
from master.kvstore.services.common import caller_of, check_call, require_admin, signed

_Command = command_pb2.Command


class _Headed(Protocol):
    @property
    def header(self) -> rpc_pb2.ResponseHeader: ...


_Response = TypeVar("_Response", bound=_Headed)


class AuthService:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def auth_enable(self, request: rpc_pb2.AuthEnableRequest, context: CallContext) -> Any:
        return await self._agree(_Command(auth_enable=request), context)

    async def auth_disable(self, request: rpc_pb2.AuthDisableRequest, context: CallContext) -> Any:
        return await self._agree(_Command(auth_disable=request), context)

    async def auth_status(
        self, request: rpc_pb2.AuthStatusRequest, context: CallContext
    ) -> rpc_pb2.AuthStatusResponse:
        await self._read(context, admin=True)
        auth = self._node.auth
        return self._filled(
            rpc_pb2.AuthStatusResponse(enabled=auth.enabled, authRevision=auth.revision)
        )

    async def authenticate(
        self, request: rpc_pb2.AuthenticateRequest, context: CallContext
    ) -> rpc_pb2.AuthenticateResponse:
        """Checked here, since it is slow; again if the rules changed before the token was valid."""
        check_call(self._node, context)
        await self._node.read_barrier()
        while True:
            revision = self._node.auth.revision
            await self._check_password(request)
            caller_of(self._node, context)  # a token that is none is refused here, too
            with suppress(AuthOldRevision):
                token = await self._new_token(request.name, revision)
                return self._filled(rpc_pb2.AuthenticateResponse(token=token))

    async def _new_token(self, user: str, revision: int) -> str:
        """AuthOldRevision unless the rules are of `revision` still."""
        node = self._node
        token = node.tokens.new(user, revision)
        if node.tokens.shared:
            told = command_pb2.Token(user=user, token=token, auth_revision=revision)
            await node.propose(_Command(authenticate=told))
        elif node.auth.revision != revision:
            raise AuthOldRevision
        return token

    async def _check_password(self, request: rpc_pb2.AuthenticateRequest) -> None:
        if not self._node.auth.enabled:
            raise AuthNotEnabled
        user = self._node.auth.users.get(request.name)
        if user is None:
            raise AuthFailed
        if not user.password:
            raise PasswordNotUsed
        if not await asyncio.to_thread(password.matches, request.password, user.password):
            raise AuthFailed

    async def user_add(self, request: rpc_pb2.AuthUserAddRequest, context: CallContext) -> Any:
        """As in etcd, a hash that the client sends is not looked at."""
        kept = rpc_pb2.AuthUserAddRequest(name=request.name)
        if not request.options.no_password:
            kept.hashedPassword = await self._hashed(request.password)
        return await self._agree(_Command(user_add=kept), context)

    async def _hashed(self, plain: str) -> str:
        return await asyncio.to_thread(password.hashed, plain, self._node.limits.bcrypt_cost)

    async def user_get(
        self, request: rpc_pb2.AuthUserGetRequest, context: CallContext
    ) -> rpc_pb2.AuthUserGetResponse:
        """Everybody may look at oneself."""
        await self._read(context)
        caller = caller_of(self._node, context)
        if caller.user != request.name:
            self._node.auth.check_admin(caller)
        user = self._node.auth.user(request.name)
        return self._filled(rpc_pb2.AuthUserGetResponse(roles=user.roles))

    async def user_list(
        self, request: rpc_pb2.AuthUserListRequest, context: CallContext
    ) -> rpc_pb2.AuthUserListResponse:
        await self._read(context, admin=True)
        return self._filled(rpc_pb2.AuthUserListResponse(users=sorted(self._node.auth.users)))

    async def user_delete(
        self, request: rpc_pb2.AuthUserDeleteRequest, context: CallContext
    ) -> Any:
        return await self._agree(_Command(user_delete=request), context)

    async def user_change_password(
        self, request: rpc_pb2.AuthUserChangePasswordRequest, context: CallContext
    ) -> Any:
        kept = rpc_pb2.AuthUserChangePasswordRequest(
            name=request.name,
            hashedPassword=await self._hashed(request.password),
        )
        return await self._agree(_Command(user_change_password=kept), context)

    async def user_grant_role(
        self, request: rpc_pb2.AuthUserGrantRoleRequest, context: CallContext
    ) -> Any:
        return await self._agree(_Command(user_grant_role=request), context)

    async def user_revoke_role(
        self, request: rpc_pb2.AuthUserRevokeRoleRequest, context: CallContext
    ) -> Any:
        return await self._agree(_Command(user_revoke_role=request), context)

    async def role_add(self, request: rpc_pb2.AuthRoleAddRequest, context: CallContext) -> Any:
        return await self._agree(_Command(role_add=request), context)

    async def role_get(
        self, request: rpc_pb2.AuthRoleGetRequest, context: CallContext
    ) -> rpc_pb2.AuthRoleGetResponse:
        """Everybody may look at the roles one has."""
        await self._read(context)
        auth, caller = self._node.auth, caller_of(self._node, context)
        own = auth.users.get(caller.user)
        if own is None or request.role not in own.roles:
            auth.check_admin(caller)
        return self._filled(rpc_pb2.AuthRoleGetResponse(perm=auth.role(request.role)))

    async def role_list(
        self, request: rpc_pb2.AuthRoleListRequest, context: CallContext
    ) -> rpc_pb2.AuthRoleListResponse:
        await self._read(context, admin=True)
        return self._filled(rpc_pb2.AuthRoleListResponse(roles=sorted(self._node.auth.roles)))

    async def role_delete(
        self, request: rpc_pb2.AuthRoleDeleteRequest, context: CallContext
    ) -> Any:
        return await self._agree(_Command(role_delete=request), context)

    async def role_grant_permission(
        self, request: rpc_pb2.AuthRoleGrantPermissionRequest, context: CallContext
    ) -> Any:
        return await self._agree(_Command(role_grant_permission=request), context)

    async def role_revoke_permission(
        self, request: rpc_pb2.AuthRoleRevokePermissionRequest, context: CallContext
    ) -> Any:
        return await self._agree(_Command(role_revoke_permission=request), context)

    async def _read(self, context: CallContext, *, admin: bool = False) -> None:
        check_call(self._node, context)
        await self._node.read_barrier()
        if admin:
            require_admin(self._node, context)

    async def _agree(self, command: command_pb2.Command, context: CallContext) -> Any:
        check_call(self._node, context)
        applied = await self._node.propose(signed(self._node, context, command))
        return self._filled(applied.response)

    def _filled(self, response: _Response) -> _Response:
        self._node.fill(response.header)
        return response
