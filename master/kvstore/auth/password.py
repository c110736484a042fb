"""Passwords as they are kept: scrypt (RFC 7914) with a salt. Slow on purpose: use a thread."""

from __future__ import annotations

import hashlib
import hmac
import secrets

_N, _R, _P = 1 << 14, 8, 1
_SALT_BYTES = 16


def hashed(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${salt.hex()}${_derive(password, salt).hex()}"


def matches(password: str, kept: str) -> bool:
    kind, _, rest = kept.partition("$")
    salt, _, digest = rest.partition("$")
    if kind != "scrypt":
        return False
    try:
        derived = _derive(password, bytes.fromhex(salt))
        return hmac.compare_digest(derived, bytes.fromhex(digest))
    except ValueError:
        return False


def _derive(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)
