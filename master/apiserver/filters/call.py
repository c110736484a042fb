"""A request as the filters see it, and how they follow each other.

Nothing of a request is parsed here but what says whose it is and what it asks for: the body waits
until the last filter has let the request through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from master.apiserver.authn.identity import ANONYMOUS, User
from master.apiserver.authz.rules import Attributes

T = TypeVar("T")
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the connection, as TLS tells it. A certificate was verified."""

    encrypted: bool = True
    der: bytes = b""
    pem: bytes = b""


@dataclass(slots=True)
class Call:
    """What is asked, by whom. `user` is as the filters before this one have found it."""

    asked: Attributes
    peer: Peer
    headers: Headers = ()
    # As the log shows it.
    method: str = ""
    path: str = ""
    user: User = ANONYMOUS


class Filter(Protocol):
    """Looks at a call, and hands it to `proceed` unless it raises a StatusError."""

    async def __call__(self, call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any: ...


class Filters:
    """Filters in their order; after the last comes the handler that a request is for."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = tuple(filters)

    async def serve(self, call: Call, handle: Callable[[Call], Awaitable[T]]) -> T:
        """What `handle` answers. Raises StatusError for a call that does not get through."""
        answer: T = await self._from(0, call, handle)
        return answer

    def _from(
        self, at: int, call: Call, handle: Callable[[Call], Awaitable[Any]]
    ) -> Awaitable[Any]:
        if at == len(self._filters):
            return handle(call)
        return self._filters[at](call, lambda call: self._from(at + 1, call, handle))
