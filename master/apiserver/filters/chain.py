"""The filters in upstream's order (apiserver/pkg/server/config.go)."""

from __future__ import annotations

from master.apiserver.authn.identity import ANONYMOUS, User
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.filters.authentication import Authentication
from master.apiserver.filters.authorization import Authorization
from master.apiserver.filters.call import Filters
from master.apiserver.filters.impersonation import Impersonation


def filters_of(authorizer: Authorizer, insecure_user: User = ANONYMOUS) -> Filters:
    return Filters(
        (
            Authentication(insecure_user),
            Impersonation(authorizer),
            Authorization(authorizer),
        )
    )
