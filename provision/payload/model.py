"""The values that a payload is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

PKI = "/etc/kubernetes/pki"
KUBERNETES = "/etc/kubernetes"
CONFIG = "/etc/muster"
LIBRARY = "/opt/muster/lib"

# Replaced on the machine by the name of the interface that holds the machine's address: eth0
# on a local machine, anything on a virtual one.
INTERFACE = b"@INTERFACE@"


@dataclass(frozen=True, slots=True)
class File:
    """A file on a machine."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    @property
    def secret(self) -> bool:
        return self.mode & 0o007 == 0


Flags = dict[str, str | int | float | None]


def arguments(flags: Flags) -> list[str]:
    """`{"name": "m1", "client-cert-auth": None}` -> `--name=m1 --client-cert-auth`.

    Numbers are written as plain floats or integers, never with an exponent.
    """
    return [f"--{name}" if v is None else f"--{name}={v}" for name, v in flags.items()]


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd service. `inputs` are the files whose change means a restart."""

    name: str
    description: str
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    service: tuple[str, ...] = ()  # further lines of [Service]
    python: bool = True  # one of ours: gets PYTHONPATH, restarts with new code
    kind: str = "notify"

    @property
    def path(self) -> str:
        return f"/etc/systemd/system/{self.name}.service"


@dataclass(frozen=True, slots=True)
class Payload:
    """Everything that one machine gets besides the code."""

    machine: str
    address: str
    files: tuple[File, ...]
    units: tuple[Unit, ...]

    def file(self, path: str) -> File:
        return next(f for f in self.files if f.path == path)

    def hash(self) -> str:
        """Changes when anything on the machine would."""
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        for file in self.files:
            owned = f"{file.mode:o} {file.owner}:{file.group}"
            yield from (file.path.encode(), owned.encode(), file.content)
        for unit in self.units:
            yield repr((unit.name, unit.inputs, unit.python)).encode()
