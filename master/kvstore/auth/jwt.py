"""Signed tokens: JSON Web Tokens as etcd's (auth/jwt.go), RFC 7519 in the compact form of RFC 7515.

A token says whose it is, by the rules of which revision, and until when; every member that has the
key can judge it, and none need be told of it. So nobody can take one back, but each change of the
rules makes it an old one. Only the one algorithm that the flags name is accepted: what the token
itself says of that ("none", HS256 with a public key for a secret) chooses nothing.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from master.kvstore.auth.store import Caller
from master.kvstore.errors import VerifyOnly

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_MOST_REVISION = (1 << 64) - 1
_KEPT = 1024  # tokens whose signature need not be looked at again


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, and the only algorithm that it is used with."""

    method: str  # as in RFC 7518, section 3.1
    verify: Callable[[bytes, bytes], bool]  # signature, what is signed
    sign: Callable[[bytes], bytes] | None = None  # None: there is a public key only


class _Header(msgspec.Struct):
    alg: str


class _Claims(msgspec.Struct):
    username: str
    revision: int
    exp: float = 0.0
    iat: float = 0.0
    nbf: float = 0.0


class JwtTokens:
    shared = False

    def __init__(self, key: SigningKey, clock: Callable[[], float], life_seconds: float) -> None:
        self._key = key
        self._clock = clock
        self._life = life_seconds
        self._signed = lru_cache(_KEPT)(self._checked)

    def new(self, user: str, revision: int) -> str:
        if self._key.sign is None:
            raise VerifyOnly
        header = {"alg": self._key.method, "typ": "JWT"}
        until = int(self._clock() + self._life)
        claims = {"exp": until, "revision": revision, "username": user}
        signed = ".".join(_encoded(msgspec.json.encode(part)) for part in (header, claims))
        return f"{signed}.{_encoded(self._key.sign(signed.encode()))}"

    def caller_of(self, token: str, revision: int) -> Caller | None:
        """By the rules that it was made for: if those are old, so is what it allows."""
        try:
            claims = self._signed(token)
        except (ValueError, RecursionError):
            return None
        return Caller(claims.username, claims.revision) if self._in_time(claims) else None

    def _checked(self, token: str) -> _Claims:
        parts = _COMPACT.fullmatch(token)
        if parts is None:
            raise ValueError("not three parts of base64url")
        header = msgspec.json.decode(_decoded(parts[1]), type=_Header)
        if header.alg != self._key.method:
            raise ValueError("another algorithm")
        signed, _, signature = token.rpartition(".")
        if not self._key.verify(_decoded(signature), signed.encode()):
            raise ValueError("the signature is wrong")
        claims = msgspec.json.decode(_decoded(parts[2]), type=_Claims)
        if not 0 <= claims.revision <= _MOST_REVISION:
            raise ValueError("no revision")
        return claims

    def _in_time(self, claims: _Claims) -> bool:
        """As in etcd, a time that is missing or 0 does not count."""
        now = int(self._clock())
        return (not claims.exp or now < claims.exp) and now >= max(claims.iat, claims.nbf)

    def add(self, token: str, user: str) -> None:
        """Nothing to remember: it speaks for itself."""

    def forget_user(self, user: str) -> None:
        """Nothing to forget: that there is another revision makes the user's tokens old."""

    def clear(self) -> None:
        """Nothing to forget either."""


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
