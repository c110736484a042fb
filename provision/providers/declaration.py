"""What a provider says of itself to the rest of the house, without being imported whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.labfile.base import Strict
from provision.providers.base import Progress, Provider


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """What a machine has that names no size of its own. None: whatever there is."""

    disk: str | None = None
    pids: int | None = None


class ProviderOptions(Strict, frozen=True):
    """Base of a provider's own stanza in a lab file (`spec.<name>`)."""

    def limits(self) -> MachineLimits:
        return MachineLimits()


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that `muster doctor` says beside what stands in a lab's way."""

    what: str
    lacking: str = ""  # why this host does not have it; of a note, the advice
    note: bool = False  # not about this host


def _nothing() -> Iterable[Remark]:
    return ()


@dataclass(frozen=True, slots=True)
class Strays:
    """How labs are found, and go away, of which nobody remembers more than the name."""

    # All that this host runs, or that are below the directory of all labs, with each one's state
    # directory if that is known.
    present: Callable[[Path], Mapping[str, Path | None]]
    remove: Callable[[str, Path | None, Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A provider: its name is also that of its stanza, and of its package here."""

    name: str
    options: type[ProviderOptions]
    make: Callable[[], Provider]
    # Machines share this host's /usr, disk and routes.
    on_this_host: bool = False
    # No address moves between machines, and masters have another one for who is outside.
    in_a_cloud: bool = False
    remarks: Callable[[], Iterable[Remark]] = _nothing
    # None: this host does not see which of its labs there are.
    strays: Strays | None = None
