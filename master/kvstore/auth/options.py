"""`--auth-token`: which tokens, with what key (etcd: auth/store.go `NewTokenProvider`, options.go).

What is wrong is a ValueError in etcd's words, with the cause behind them, which etcd logs before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from master.kvstore.duration import parse_duration

if TYPE_CHECKING:
    from master.kvstore.auth.jwt import SigningKey

_INVALID = "auth: invalid auth options"
_DEFAULT_TTL = "5m"


def signed_tokens(text: str) -> tuple[SigningKey, float] | None:
    """The key of signed tokens and their life in seconds; None: tokens are simple ones."""
    kind, options = _parts(text)
    if kind == "simple":
        return None
    if kind != "jwt":
        raise ValueError(f'{_INVALID}: unknown token type: "{kind}"')
    try:
        seconds = parse_duration(options.get("ttl") or _DEFAULT_TTL)
        public, private = (_content(options.get(name, "")) for name in ("pub-key", "priv-key"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{_INVALID}: {error}") from error
    # Here, for it is large.
    from master.kvstore.auth.jwtkeys import signing_key

    return signing_key(options.get("sign-method", ""), public, private), seconds


def _parts(text: str) -> tuple[str, dict[str, str]]:
    """`type,name=value,...`. As in etcd, unknown names do not matter."""
    kind, *pairs = text.split(",")
    options: dict[str, str] = {}
    for pair in pairs:
        name, *value = pair.split("=")
        if len(value) != 1 or name in options:
            raise ValueError(f'{_INVALID}: "{pair}"')
        options[name] = value[0]
    return kind, options


def _content(file: str) -> bytes:
    return Path(file).read_bytes() if file else b""
