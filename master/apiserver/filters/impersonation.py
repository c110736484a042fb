"""As whom the call is answered: its user, or whom he may act as."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kube.component.log import get_logger
from master.apiserver.authn.impersonation import impersonated
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.filters.call import Call

log = get_logger(__name__)


class Impersonation:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
        user = call.user
        acting = impersonated(self._authorizer, user, call.headers)
        if acting is not user:
            log.info(
                "impersonation",
                user=user.name,
                acting_as=acting.name,
                groups=sorted(acting.groups),
                method=call.method,
                path=call.path,
            )
            call.user = acting
        return await proceed(call)
