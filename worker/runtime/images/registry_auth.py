"""What a registry may ask of us and what we may send where. Pure.

A registry is not trusted: its challenge names any URL as the place that gives tokens, its answers
redirect to any host. So credentials go only to the registry itself and, as in the token flow that
other clients speak, to an https realm that it names; plain http is for the very registry that the
operator allowed it for.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

from worker.runtime.errors import InvalidArgument

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
# RFC 6750's token characters, and what else real registries put there.
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]


def origin(url: str) -> Origin:
    """Scheme, host and port. InvalidArgument for what is not http(s), or has a user in it."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        raise InvalidArgument(f'"{url}" is not a URL') from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise InvalidArgument(f'"{url}" is not a URL that a registry may name')
    return parts.scheme, parts.hostname, port


def realm(challenge: str, registry: str) -> tuple[str, dict[str, str]] | None:
    """The realm of a bearer challenge and the query for it; None when there is none.

    Raises InvalidArgument for a realm that nothing may be sent to.
    """
    scheme, _, rest = challenge.partition(" ")
    fields = dict(_CHALLENGE.findall(rest))
    if scheme.lower() != "bearer" or "realm" not in fields:
        return None
    found = origin(fields["realm"])
    if found[0] != "https" and found != origin(registry):
        raise InvalidArgument(
            f'the registry sends for a token to "{fields["realm"]}", which is not https'
        )
    return fields["realm"], {key: fields[key] for key in ("service", "scope") if key in fields}


def redirect(url: str, location: str, registry: str) -> str:
    """Where a redirect leads. From https never to http, unless the registry itself has none."""
    target = urljoin(url, location)
    if origin(target)[0] != "https" and origin(registry)[0] == "https":
        raise InvalidArgument(f'the registry redirects to "{target}", which is not https')
    return target


def token(answer: Any) -> str:
    """The token of a token server's answer."""
    found = None
    if isinstance(answer, dict):
        found = answer.get("token") or answer.get("access_token")
    if not isinstance(found, str) or not _TOKEN.fullmatch(found):
        raise InvalidArgument("the registry's token server gave no token")
    return found
