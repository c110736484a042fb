"""Who presents a token (etcd: auth/store.go, `TokenProvider`), and etcd's "simple" tokens.

A simple token is told to every member through the log, but each forgets it by its own clock. Not
in snapshots: after a restart, or five minutes without use, a client authenticates again. Signed
tokens are in `jwt.py`. The clock is handed in.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

from master.kvstore.auth.store import Caller

LIFE_SECONDS = 300.0


class Tokens(Protocol):
    @property
    def shared(self) -> bool:
        """Whether the other members must be told of a new token."""

    def new(self, user: str, revision: int) -> str: ...

    def caller_of(self, token: str, revision: int) -> Caller | None:
        """Who presents it, while the rules are of `revision`. None: it is no valid token."""

    def add(self, token: str, user: str) -> None: ...

    def forget_user(self, user: str) -> None: ...

    def clear(self) -> None: ...


class SimpleTokens:
    shared = True

    def __init__(self, clock: Callable[[], float], life_seconds: float = LIFE_SECONDS) -> None:
        self._clock = clock
        self._life = life_seconds
        self._tokens: dict[str, tuple[str, float]] = {}  # token -> user, until when

    def new(self, user: str, revision: int) -> str:
        """Nothing but chance: that it is `user`'s is known when `add` has been called."""
        return secrets.token_urlsafe(24)

    def caller_of(self, token: str, revision: int) -> Caller | None:
        """By the present rules. Being used lengthens its life."""
        now = self._clock()
        user, until = self._tokens.get(token, ("", 0.0))
        if until <= now:
            return None
        self._tokens[token] = (user, now + self._life)
        return Caller(user, revision)

    def add(self, token: str, user: str) -> None:
        now = self._clock()
        self._tokens = {t: kept for t, kept in self._tokens.items() if kept[1] > now}
        self._tokens[token] = (user, now + self._life)

    def forget_user(self, user: str) -> None:
        self._tokens = {t: kept for t, kept in self._tokens.items() if kept[0] != user}

    def clear(self) -> None:
        self._tokens.clear()
