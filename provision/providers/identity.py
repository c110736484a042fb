"""What stays a machine's own from its making to its removal: SSH host key and machine id."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same for the machine's whole life."""

    machine_id: str
    host_key: str  # OpenSSH private key
    host_key_public: str


def ensure_identity(directory: Path) -> Identity:
    """The identity kept in `directory`, made on first use."""
    existing = read_identity(directory)
    if existing is not None:
        return existing
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    private, public = new_host_key()
    _write(directory / "ssh_host_ed25519_key", private)
    _write(directory / "ssh_host_ed25519_key.pub", public + "\n")
    # Last, because its presence says that the others are whole (machine-id(5): 32 hex digits).
    _write(directory / "machine-id", uuid.uuid4().hex + "\n")
    return Identity(machine_id(directory), private, public)


def read_identity(directory: Path) -> Identity | None:
    try:
        return Identity(
            machine_id(directory),
            (directory / "ssh_host_ed25519_key").read_text(),
            (directory / "ssh_host_ed25519_key.pub").read_text().strip(),
        )
    except FileNotFoundError:
        return None


def machine_id(directory: Path) -> str:
    return (directory / "machine-id").read_text().strip()


def new_host_key() -> tuple[str, str]:
    """(private, public) of a new ed25519 key, both in OpenSSH's text formats."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private.decode(), public.decode()


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(path.suffix + ".new")
    draft.touch(0o600)
    draft.write_text(text)
    draft.rename(path)
