"""What a page is asked and what it answers, whichever version of HTTP carries it.

A handler is `async def handle(request) -> Response`. A body that comes bit by bit is an iterator.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    peer: str = ""
    # The client's certificate as PEM, None without one. A function: few pages ask.
    peer_certificate: Callable[[], bytes | None] = lambda: None
    # The same as ssl's `getpeercert()` tells it: the names in it, without a parser of X.509.
    peer_names: Callable[[], Mapping[str, Any] | None] = lambda: None

    def asked(self, name: str) -> str:
        """The first value of a parameter, or nothing."""
        return self.query.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | AsyncIterator[bytes] = b""


Handler = Callable[[Request], Awaitable[Response]]


def request_of(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    peer: str,
    certificate: Callable[[], bytes | None],
    names: Callable[[], Mapping[str, Any] | None] = lambda: None,
) -> Request:
    """Raises ValueError for a target that is none."""
    parts = urlsplit(target)
    # Names without a value count: `/healthz?verbose`.
    query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=100)
    path = unquote(parts.path)
    return Request(method, path, query, headers, body, peer, certificate, names)


def text(body: str, status: int = 200, content_type: str = PLAIN) -> Response:
    return Response(status, (("Content-Type", content_type),), body.encode())


def json_page(body: Any, status: int = 200) -> Response:
    return text(json.dumps(body, separators=(",", ":")), status, "application/json")


def failure(status: int, body: str | None = None, *more: tuple[str, str]) -> Response:
    """As Go's http.Error says it: one line, and browsers shall not guess its type."""
    line = HTTPStatus(status).phrase if body is None else body
    nosniff = ("X-Content-Type-Options", "nosniff")
    return Response(status, (("Content-Type", PLAIN), nosniff, *more), f"{line}\n".encode())


class Pages:
    """Handlers by path. GET and HEAD alone, as pages that tell and change nothing."""

    def __init__(self, pages: Mapping[str, Handler]) -> None:
        self._pages = pages

    async def __call__(self, request: Request) -> Response:
        page = self._pages.get(request.path)
        if page is None:
            return failure(404, "404 page not found")
        if request.method not in ("GET", "HEAD"):
            return failure(405, None, ("Allow", "GET"))
        return await page(request)
