"""Whether the call's user may do what it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kube.machinery.errors import Unauthorized
from master.apiserver.authn.identity import ANONYMOUS
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.filters.call import Call


class Authorization:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
        # Who acts as system:anonymous is authenticated, and hears 403.
        if call.user is ANONYMOUS and not self._authorizer.allows(call.user, call.asked):
            raise Unauthorized("Unauthorized")
        self._authorizer.check(call.user, call.asked)
        return await proceed(call)
