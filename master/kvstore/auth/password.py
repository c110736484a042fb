"""Passwords as etcd keeps them: bcrypt, so that users move between etcd and Muster in snapshots.

Slow on purpose: use a thread.
"""

from __future__ import annotations

import bcrypt

_COUNTED_BYTES = 72  # bcrypt looks at no more


def hashed(password: str, cost: int) -> str:
    salt = bcrypt.gensalt(cost, prefix=b"2a")
    return bcrypt.hashpw(_counted(password), salt).decode()


def matches(password: str, kept: str) -> bool:
    try:
        return bcrypt.checkpw(_counted(password), kept.encode())
    except ValueError:  # what is kept is no hash of bcrypt's
        return False


def _counted(password: str) -> bytes:
    return password.encode()[:_COUNTED_BYTES]
