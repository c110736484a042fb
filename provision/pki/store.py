"""The lab's certificates on disk: made where missing, used again where they still fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from provision.identities import LabRecord
from provision.pki.authority import (
    KeyPair,
    issue,
    new_authority,
    new_key,
    private_pem,
    public_pem,
    satisfies,
)
from provision.pki.catalogue import AUTHORITIES, Leaf, host_leaves, machine_leaves
from provision.state import write_private


@dataclass(frozen=True, slots=True)
class Pki:
    """Every certificate and key of a lab, by name in its state directory."""

    pairs: dict[str, KeyPair]
    service_account: KeyPair  # cert holds the public key
    made: int = 0  # how many had to be made

    def __getitem__(self, name: str) -> KeyPair:
        return self.pairs[name]


def ensure_pki(record: LabRecord, directory: Path, now: datetime | None = None) -> Pki:
    """Load the lab's PKI, making what is missing, no longer fits, or is about to expire."""
    when = now or datetime.now(UTC)
    leaves = [*host_leaves(), *(x for m in record.machines for x in machine_leaves(record, m))]
    pairs: dict[str, KeyPair] = {}
    made = 0
    for name, common_name in AUTHORITIES.items():
        found = _load(directory, name)
        made += found is None
        pairs[name] = found or _save(directory, name, new_authority(common_name, when))
    made += _ensure_leaves(leaves, pairs, directory, when)
    return Pki(pairs, _service_account(directory), made)


def _ensure_leaves(
    leaves: Iterable[Leaf], pairs: dict[str, KeyPair], directory: Path, now: datetime
) -> int:
    made = 0
    for leaf in leaves:
        authority = pairs[leaf.authority]
        found = _load(directory, leaf.name)
        if found is None or not satisfies(found, authority, leaf.request, now):
            found = _save(directory, leaf.name, issue(authority, leaf.request, now))
            made += 1
        pairs[leaf.name] = found
    return made


def _service_account(directory: Path) -> KeyPair:
    """The key that signs service account tokens, and its public half."""
    private, public = directory / "sa.key", directory / "sa.pub"
    if not (private.exists() and public.exists()):
        key = new_key()
        write_private(private, private_pem(key))
        write_private(public, public_pem(key), 0o644)
    return KeyPair(public.read_bytes(), private.read_bytes())


def _load(directory: Path, name: str) -> KeyPair | None:
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    if not (cert.exists() and key.exists()):
        return None
    pair = KeyPair(cert.read_bytes(), key.read_bytes())
    try:
        _ = pair.certificate
    except ValueError:  # torn or edited: a new one takes its place
        return None
    return pair


def _save(directory: Path, name: str, pair: KeyPair) -> KeyPair:
    # The key goes first: a certificate on disk is never without its key.
    write_private(directory / f"{name}.key", pair.key)
    write_private(directory / f"{name}.crt", pair.cert, 0o644)
    return pair
