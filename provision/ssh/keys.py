"""The lab's own SSH key, and the file of the host keys that are accepted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provision.providers.base import SshTarget
from provision.state import write_private


def ensure_key(path: Path, comment: str) -> None:
    """An Ed25519 key at `path` and its public half beside it, made once."""
    public = path.with_suffix(".pub")
    if path.exists() and public.exists():
        return
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    line = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    write_private(path, private)
    write_private(public, line + f" {comment}\n".encode(), 0o644)


def write_known_hosts(path: Path, targets: Iterable[SshTarget]) -> None:
    content = "".join(f"{target.known_hosts_line}\n" for target in targets)
    write_private(path, content.encode())
