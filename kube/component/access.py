"""Who may read a component's own port: a certificate says who asks, the api-server decides.

Upstream's delegated authentication and authorization. Certificates of the cluster's CA get a
connection; what their users may do is asked of the api-server (a SubjectAccessReview) and kept
for a while, so that a scraper costs it next to nothing and may still read for a moment when it is
away. The asking itself comes from outside: `kube.client.access`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kube.http.messages import Handler, Request, Response, failure, json_page

MASTERS, AUTHENTICATED = "system:masters", "system:authenticated"
# Probes need no rights, but a certificate of the CA all the same (the port is mutual TLS).
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
# Upstream's DelegatingAuthorizationOptions.
ALLOWED_SECONDS, DENIED_SECONDS = 10.0, 10.0
# Of one process. Who asks for thousands of different things forgets the first ones' answers.
CACHE_SIZE = 1024
# At the api-server at once, so that no flood here becomes one there.
MOST_QUESTIONS = 16


@dataclass(frozen=True, slots=True)
class Caller:
    """A client certificate's CN and O."""

    user: str
    groups: tuple[str, ...]


def caller_of(peer: Mapping[str, Any] | None) -> Caller | None:
    """From ssl's `getpeercert()`; None for a certificate that names nobody, or for none."""
    pairs = [pair for rdn in (peer or {}).get("subject", ()) for pair in rdn]
    user = next((value for key, value in pairs if key == "commonName"), "")
    groups = (value for key, value in pairs if key == "organizationName")
    return Caller(user, (*groups, AUTHENTICATED)) if user else None


@dataclass(frozen=True, slots=True)
class Question:
    """What the caller wants: a path, or a subresource of a node (the kubelet's port)."""

    verb: str
    path: str = ""
    node: str = ""
    subresource: str = ""

    def spec(self, caller: Caller) -> dict[str, Any]:
        """The SubjectAccessReview's."""
        who: dict[str, Any] = {"user": caller.user, "groups": list(caller.groups)}
        if self.path:
            return who | {"nonResourceAttributes": {"verb": self.verb, "path": self.path}}
        asked = {"verb": self.verb, "version": "v1", "resource": "nodes",
                 "subresource": self.subresource, "name": self.node}  # fmt: skip
        return who | {"resourceAttributes": asked}


class Unanswered(Exception):
    """The api-server could not be asked; the message says why."""


# Asks the api-server with the spec of a SubjectAccessReview. Raises Unanswered.
Ask = Callable[[dict[str, Any]], Awaitable[bool]]
_Key = tuple[Caller, Question]


class Access:
    """Decisions, kept for a while."""

    def __init__(
        self,
        ask: Ask,
        allowed_seconds: float = ALLOWED_SECONDS,
        denied_seconds: float = DENIED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._clock = ask, clock
        self._seconds = {True: allowed_seconds, False: denied_seconds}
        self._known: OrderedDict[_Key, tuple[bool, float]] = OrderedDict()
        self._asking: dict[_Key, asyncio.Task[bool]] = {}
        self._room = asyncio.Semaphore(MOST_QUESTIONS)

    async def allows(self, caller: Caller, question: Question) -> bool:
        """Raises Unanswered when it is not known and nobody can be asked."""
        if MASTERS in caller.groups:
            return True
        key = (caller, question)
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            self._known.move_to_end(key)
            return known[0]
        if key not in self._asking:
            task = asyncio.create_task(self._find_out(key), name="access review")
            self._asking[key] = task
            task.add_done_callback(lambda done: self._answered(key, done))
        # Shielded: others wait for the same answer.
        return await asyncio.shield(self._asking[key])

    def _answered(self, key: _Key, done: asyncio.Task[bool]) -> None:
        del self._asking[key]
        if not done.cancelled():
            done.exception()  # whoever asked may be gone, and then nobody else looks at it

    async def _find_out(self, key: _Key) -> bool:
        caller, question = key
        async with self._room:
            allowed = await self._ask(question.spec(caller))
        self._known[key] = (allowed, self._clock() + self._seconds[allowed])
        self._known.move_to_end(key)
        while len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return allowed


def guarded(handler: Handler, access: Access) -> Handler:
    """`handler`, for those alone whom the api-server lets read its pages."""

    async def serve(request: Request) -> Response:
        if request.path in OPEN_PATHS:
            return await handler(request)
        caller = caller_of(request.peer_names())
        if caller is None:
            return _status(401, "Unauthorized", "Unauthorized")
        verb = "get" if request.method in ("GET", "HEAD") else request.method.lower()
        try:
            allowed = await access.allows(caller, Question(verb, path=request.path))
        except Unanswered as error:
            return failure(500, f'Internal Server Error: "{request.path}": {error}')
        if not allowed:
            text = f'forbidden: User "{caller.user}" cannot {verb} path "{request.path}"'
            return _status(403, "Forbidden", text)
        return await handler(request)

    return serve


def _status(code: int, reason: str, message: str) -> Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code}  # fmt: skip
    return json_page(body, code)
