"""What a provider of machines is: the values it takes, the states it reports, the verbs it has.

A provider only makes, stops, starts and removes machines and says how to reach them by SSH;
what runs on them is installed by the same Ansible path for every provider. All verbs are
idempotent, and each works on a lab that is half made, half gone or absent.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

Role = Literal["master", "worker"]

# Told as work proceeds: (machine name, or "" for the lab as a whole; what was just done).
Progress = Callable[[str, str], None]


def silent(machine: str, message: str) -> None:
    """The `Progress` of a caller who does not want to hear about it."""


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One machine as the lab file describes it."""

    name: str
    role: Role
    address: str
    cpus: float
    memory_mib: int
    disk_mib: int | None = None  # None: no limit of its own
    pids: int | None = None  # the most processes and threads; None: what its kernel allows


@dataclass(frozen=True, slots=True)
class LabNetwork:
    """The network that the machines share. `host_address` is this host's own place in it."""

    subnet: str  # CIDR, such as 10.200.0.0/24
    gateway: str
    host_address: str

    @property
    def prefix_length(self) -> int:
        return IPv4Network(self.subnet).prefixlen


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A whole lab. The same value is given to every verb; providers keep no other memory of it."""

    name: str
    network: LabNetwork
    machines: tuple[MachineSpec, ...]
    state_dir: Path  # this lab's own directory, such as /var/lib/muster-lab/<lab>
    ssh_public_key: str  # one authorized_keys line
    ssh_private_key: Path  # its other half, for the SshTarget
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def machine(self, name: str) -> MachineSpec:
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise UnknownMachine(self.name, name)

    def chosen(self, names: Sequence[str] | None) -> tuple[MachineSpec, ...]:
        """The machines called `names`, in the lab's order; all of them for None."""
        if names is None:
            return self.machines
        wanted = {self.machine(name).name for name in names}
        return tuple(m for m in self.machines if m.name in wanted)


class MachineState(enum.StrEnum):
    ABSENT = "absent"  # nothing of it exists (or only leftovers that `destroy` removes)
    STOPPED = "stopped"  # its disk and identity exist, nothing of it runs
    RUNNING = "running"
    PAUSED = "paused"  # frozen in place: keeps its memory, answers nothing


@dataclass(frozen=True, slots=True)
class SshTarget:
    """How to reach a machine. A `user` other than root may become root by sudo, no password."""

    host: str
    port: int
    user: str
    key_file: Path
    host_key: str  # "ssh-ed25519 AAAA...", as in a known_hosts line without the host

    @property
    def known_hosts_line(self) -> str:
        host = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return f"{host} {self.host_key}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that would keep a lab from being made, and what the user can do about it."""

    text: str
    fix: str
    packages: tuple[str, ...] = ()  # Debian packages that would solve it

    def __str__(self) -> str:
        return f"{self.text}; {self.fix}" if self.fix else self.text


class ProviderError(Exception):
    """A verb failed. The message names the machine or thing; `fix` says what the user can do."""

    def __init__(self, text: str, fix: str = "") -> None:
        super().__init__(f"{text}; {fix}" if fix else text)
        self.text = text
        self.fix = fix


class UnknownMachine(ProviderError):
    """A machine name that the lab does not have."""

    def __init__(self, lab: str, name: str) -> None:
        super().__init__(f'lab "{lab}" has no machine "{name}"', "see `muster node list`")


class LabBusy(ProviderError):
    """Another command is changing the same lab."""


class Unprepared(ProviderError):
    """`check` found problems; nothing was changed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Drop:
    """Frames that the lab's network loses: from one machine's cable to another's, or any ("")."""

    source: str = ""
    destination: str = ""
    port: int | None = None  # TCP and UDP, on the destination's side; None: everything
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Wire:
    """What a cable does to the frames on it, in each direction."""

    delay_ms: float = 0
    jitter_ms: float = 0  # so much more or less
    duplicate_percent: float = 0
    reorder_percent: float = 0  # so many do not wait, and overtake those that do


class Fabric(Protocol):
    """The network that the machines share, where a provider has it in hand: faults from outside.

    Nothing of this is seen from within a machine but that packets do not arrive. All verbs may be
    repeated, and the undoing ones also act on machines that are off.
    """

    async def unplug(self, lab: LabSpec, names: Sequence[str]) -> None:
        """Pull the machines' cables."""
        ...

    async def plug(self, lab: LabSpec, names: Sequence[str]) -> None:
        """Plug them in again."""
        ...

    async def lose(self, lab: LabSpec, key: str, drops: Sequence[Drop]) -> None:
        """Lose these frames until `stop_losing(key)`."""
        ...

    async def stop_losing(self, lab: LabSpec, key: str) -> None:
        """Let everything that `key` loses pass again."""
        ...

    async def shape(self, lab: LabSpec, names: Sequence[str], kbit: int) -> None:
        """Let machines receive and send no more than so much a second."""
        ...

    async def unshape(self, lab: LabSpec, names: Sequence[str]) -> None:
        """As fast as it goes again."""
        ...

    async def delay(self, lab: LabSpec, names: Sequence[str], wire: Wire) -> None:
        """Let the machines' frames be late, come twice, or overtake each other."""
        ...

    async def undelay(self, lab: LabSpec, names: Sequence[str]) -> None:
        """A plain cable again."""
        ...


class Disks(Protocol):
    """The machines' disks, where a provider has them in hand: slowed down from outside."""

    async def slow(self, lab: LabSpec, names: Sequence[str], writes_per_second: int) -> None:
        """Let machines write no more often than that."""
        ...

    async def unslow(self, lab: LabSpec, names: Sequence[str]) -> None:
        """As fast as it goes again. May be repeated, also on machines that are off."""
        ...


class Provider(Protocol):
    """The verbs. `names` picks machines, None means all of the lab's.

    `create` and `start` return once every machine involved accepts SSH.
    """

    @property
    def name(self) -> str: ...

    @property
    def fabric(self) -> Fabric | None:
        """The lab's network, where this provider can break it."""
        ...

    @property
    def disks(self) -> Disks | None:
        """The machines' disks, where this provider can slow them down."""
        ...

    async def check(self, lab: LabSpec) -> list[Problem]:
        """What stands in the way of `create`. Changes nothing, never raises for a bad host."""
        ...

    async def create(
        self, lab: LabSpec, progress: Progress = silent, *, retain: bool = False
    ) -> None:
        """Make and boot the machines that do not exist; boot those that are stopped.

        Raises `Unprepared` before it changes anything. When a later step fails, what this call
        made is removed again, unless `retain`.
        """
        ...

    async def destroy(self, lab: LabSpec, progress: Progress = silent) -> None:
        """Remove every trace of the lab, also of a half-made one; succeeds if there is none."""
        ...

    async def start(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        """Boot stopped machines, with the disk and identity they had. Resumes paused ones."""
        ...

    async def stop(
        self, lab: LabSpec, names: Sequence[str] | None = None, progress: Progress = silent
    ) -> None:
        """Shut machines down in an orderly way; as a last resort by force."""
        ...

    async def power_off(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        """Pull the plug: no goodbye to anybody, and silence on the network at once."""
        ...

    async def pause(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        """Freeze machines in place."""
        ...

    async def resume(self, lab: LabSpec, names: Sequence[str] | None = None) -> None:
        """Thaw paused machines; running ones are left alone."""
        ...

    async def states(self, lab: LabSpec) -> dict[str, MachineState]:
        """The state of each of the lab's machines, by name."""
        ...

    async def ssh_target(self, lab: LabSpec, name: str) -> SshTarget:
        """How to reach one machine, whether it runs or not."""
        ...
