"""What lab is meant: the one that exists, amended, or a new one."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from msgspec import structs, to_builtins

from provision.errors import LabConflict, LabFileError
from provision.identities import DEFAULT_LAB, LabRecord, allocate, amend
from provision.labfile.parse import parse_document
from provision.labfile.spec import Lab, Metadata, ProviderName
from provision.providers import declared
from provision.state import Store


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags say; None leaves the lab file's (or the existing lab's) word."""

    name: str | None = None
    masters: int | None = None
    workers: int | None = None
    provider: ProviderName | None = None
    timers: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    record: LabRecord
    existing: LabRecord | None

    @property
    def is_new(self) -> bool:
        return self.existing is None


def wanted_lab(file: Lab | None, existing: LabRecord | None, overrides: Overrides) -> Lab:
    """The lab file with the flags over it; without a file, the lab as it is, or the default."""
    base = file or (existing.lab if existing else Lab(api_version="muster/v1", kind="Lab"))
    name = overrides.name or base.metadata.name
    changes = {
        field: value
        for field in ("masters", "workers", "provider", "timers")
        if (value := getattr(overrides, field)) is not None
    }
    lab = structs.replace(
        base, metadata=Metadata(name=name), spec=structs.replace(base.spec, **changes)
    )
    # Flags bypass the parser: give their values the same treatment.
    return parse_document(to_builtins(lab), "lab")


def lab_name(file: Lab | None, overrides: Overrides) -> str:
    if file is not None and overrides.name not in (None, file.metadata.name):
        raise LabConflict(
            f'--name says "{overrides.name}", the lab file "{file.metadata.name}"',
            "leave one of the two out",
        )
    return overrides.name or (file.metadata.name if file else DEFAULT_LAB)


def plan(store: Store, file: Lab | None, overrides: Overrides) -> Planned:
    """Decide; nothing is written."""
    name = lab_name(file, overrides)
    existing = store.find(name)
    lab = wanted_lab(file, existing, overrides)
    if file is not None:
        _find_images(lab)
    if existing is not None:
        return Planned(amend(existing, lab), existing)
    routes = host_routes() if declared(lab.spec.provider).on_this_host else []
    return Planned(allocate(lab, store.subnets(), routes), None)


def _find_images(lab: Lab) -> None:
    """A missing archive is found before machines are made."""
    for index, text in enumerate(lab.spec.images):
        if not Path(text).expanduser().is_file():
            raise LabFileError(
                f'spec.images[{index}]: there is no file "{text}"',
                "give the path of an image archive; a relative one starts at the lab file",
            )


def host_routes(table: Path = Path("/proc/net/route")) -> list[IPv4Network]:
    """The networks that this host has routes to, the default route left out (proc(5))."""
    if not table.exists():
        return []
    found = []
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (socket.htonl(int(fields[i], 16)) for i in (1, 7))
        if mask:
            found.append(IPv4Network((address & mask, mask.bit_count())))
    return found
