"""Who calls: the client certificate's user. What has none is anonymous."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from master.apiserver import metrics
from master.apiserver.authn.identity import (
    ANONYMOUS,
    Credential,
    User,
    credential_from_der,
    credential_from_pem,
)
from master.apiserver.filters.call import Call, Peer


class Authentication:
    """`insecure_user` is who calls without TLS; only tests serve without."""

    def __init__(self, insecure_user: User = ANONYMOUS) -> None:
        self._insecure_user = insecure_user

    async def __call__(self, call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
        call.user = self._user(call.peer)
        return await proceed(call)

    def _user(self, peer: Peer) -> User:
        if not peer.encrypted:
            return self._insecure_user
        credential = _credential(peer)
        if credential is None:
            return ANONYMOUS
        metrics.certificate_seen((credential.expires - datetime.now(UTC)).total_seconds())
        return credential.user


def _credential(peer: Peer) -> Credential | None:
    if peer.der:
        return credential_from_der(peer.der)
    return credential_from_pem(peer.pem) if peer.pem else None
