"""etcd's "simple" tokens: known to every member, but each forgets them by its own clock.

Not in snapshots: after a restart, or five minutes without use, a client authenticates again.
Time is handed in.
"""

from __future__ import annotations

import secrets

LIFE_SECONDS = 300.0


class Tokens:
    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float]] = {}  # token -> user, until when

    def add(self, token: str, user: str, now: float) -> None:
        self._tokens = {t: kept for t, kept in self._tokens.items() if kept[1] > now}
        self._tokens[token] = (user, now + LIFE_SECONDS)

    def user_of(self, token: str, now: float) -> str | None:
        """Whose token it is. Being used lengthens its life."""
        user, until = self._tokens.get(token, ("", 0.0))
        if until <= now:
            return None
        self._tokens[token] = (user, now + LIFE_SECONDS)
        return user

    def forget_user(self, user: str) -> None:
        self._tokens = {t: kept for t, kept in self._tokens.items() if kept[0] != user}

    def clear(self) -> None:
        self._tokens.clear()


def new_token() -> str:
    return secrets.token_urlsafe(24)
