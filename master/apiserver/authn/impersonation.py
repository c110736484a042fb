"""Acting as somebody else: the Impersonate-* headers (`kubectl --as`), upstream's filter.

Whoever asks for it must be allowed the verb `impersonate` on each thing that he wants to be: the
user (or service account), each group, the uid, each extra value. Only REST has these headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from kube.machinery.errors import BadRequest
from master.apiserver.authn.identity import ANONYMOUS_NAME, AUTHENTICATED, UNAUTHENTICATED, User
from master.apiserver.authz.authorizer import Authorizer
from master.apiserver.authz.rules import Attributes

_PREFIX = "impersonate-"
_USER, _UID, _GROUP = "impersonate-user", "impersonate-uid", "impersonate-group"
_EXTRA = "impersonate-extra-"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_SERVICE_ACCOUNTS = "system:serviceaccounts"
Headers = Iterable[tuple[str, str]]


def impersonated(authorizer: Authorizer, user: User, headers: Headers) -> User:
    """Who the request acts as: `user`, unless it asks to be another. Raises Forbidden, BadRequest.

    BadRequest is ours where upstream says 500: that the headers make no sense is the client's
    fault.
    """
    asked = [(name.lower(), value) for name, value in headers if name.lower().startswith(_PREFIX)]
    if not asked:
        return user
    name = next((value for key, value in asked if key == _USER), "")
    groups = [value for key, value in asked if key == _GROUP]
    uid = next((value for key, value in asked if key == _UID), "")
    extra = _extra(asked)
    if not name:
        # Whatever else begins like these headers is refused too, rather than answered as `user`.
        shown = ", ".join(f"{key}: {value}" for key, value in asked)
        raise BadRequest(f"requested [{shown}] without impersonating a user")
    for wanted in _needed(name, groups, uid, extra):
        authorizer.check(user, wanted)
    return User(name, _groups(name, groups), uid, tuple((k, tuple(v)) for k, v in extra.items()))


def _extra(asked: Headers) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in asked:
        if key.startswith(_EXTRA):
            found.setdefault(unquote(key.removeprefix(_EXTRA)), []).append(value)
    return found


def _needed(
    name: str, groups: list[str], uid: str, extra: dict[str, list[str]]
) -> Iterator[Attributes]:
    """What the real user must be allowed, in upstream's order."""
    account = _service_account(name)
    if account:
        yield Attributes(
            "impersonate", resource="serviceaccounts", namespace=account[0], name=account[1]
        )
    else:
        yield Attributes("impersonate", resource="users", name=name)
    for group in groups:
        yield Attributes("impersonate", resource="groups", name=group)
    authentication = "authentication.k8s.io"
    for key, values in extra.items():
        for value in values:
            yield Attributes("impersonate", authentication, "userextras", key, name=value)
    if uid:
        yield Attributes("impersonate", authentication, "uids", name=uid)


def _groups(name: str, groups: list[str]) -> frozenset[str]:
    """The groups that were asked for, and those that everybody of that kind is in."""
    found = set(groups)
    account = _service_account(name)
    if account and not groups:
        found |= {_SERVICE_ACCOUNTS, f"{_SERVICE_ACCOUNTS}:{account[0]}"}
    if name == ANONYMOUS_NAME:
        found.add(UNAUTHENTICATED)
    elif UNAUTHENTICATED not in found:
        found.add(AUTHENTICATED)
    return frozenset(found)


def _service_account(name: str) -> tuple[str, str] | None:
    """Namespace and name in `system:serviceaccount:NAMESPACE:NAME`."""
    parts = name.removeprefix(_SERVICE_ACCOUNT).split(":")
    if name.startswith(_SERVICE_ACCOUNT) and len(parts) == 2 and all(parts):
        return parts[0], parts[1]
    return None
