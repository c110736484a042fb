"""The local provider to the rest of the house: its stanza in a lab file, and what it is like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from provision.labfile.base import DISK_PATTERN
from provision.providers.base import Progress, Provider
from provision.providers.declaration import (
    Declaration,
    MachineLimits,
    ProviderOptions,
    Remark,
    Strays,
)


class LocalOptions(ProviderOptions, frozen=True):
    """Machines as system containers on this Linux box."""

    disk: Annotated[
        str,
        Meta(
            pattern=DISK_PATTERN,
            description="The disk of a machine that names no size of its own; none: the host's.",
        ),
    ] = "10Gi"
    pids: Annotated[
        int,
        Meta(ge=256, le=4_194_304, description="Processes and threads that one machine may have."),
    ] = 8192
    user_namespaces: Annotated[
        bool,
        Meta(description="Root in a machine is nobody on the host (docs/security.md)."),
    ] = False

    def limits(self) -> MachineLimits:
        """A virtual machine's disk is its image's; a local one's would be the whole host's."""
        return MachineLimits(None if self.disk == "none" else self.disk, self.pids)


def _make() -> Provider:
    from provision.providers.local.provider import LocalProvider

    return LocalProvider()


def _remarks() -> Iterator[Remark]:
    """How well local machines are kept from this host, which is never as well as virtual ones."""
    from provision.providers.local.checks import guards

    for guard in guards():
        yield Remark(guard.what, guard.lacking)
    yield Remark(
        "local machines share this host's kernel: a convenience, not a boundary",
        "for what you do not trust use the vagrant or ec2 provider (docs/security.md)",
        note=True,
    )


def _present(root: Path) -> Mapping[str, Path | None]:
    from provision.providers.local import strays

    return strays.labs(root)


async def _remove(lab: str, state_dir: Path | None, progress: Progress) -> None:
    from provision.providers.local.provider import remove_stray

    await remove_stray(lab, state_dir, progress)


DECLARATION = Declaration(
    "local",
    LocalOptions,
    _make,
    on_this_host=True,
    remarks=_remarks,
    strays=Strays(_present, _remove),
)
