"""Reading what vagrant prints. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from provision.providers.base import LabBusy, MachineState, ProviderError

# `vagrant status --machine-readable`, both back ends' words.
_STATES = {
    "running": MachineState.RUNNING,
    "paused": MachineState.PAUSED,
    "saved": MachineState.PAUSED,
    "pmsuspended": MachineState.PAUSED,
    "not_created": MachineState.ABSENT,
    "inaccessible": MachineState.ABSENT,
}

# What its messages mean, most telling first.
_FIXES = (
    ("already executing an action on the machine", "wait until the other command has ended"),
    ("could not detect VirtualBox", "install VirtualBox, or set the option backend to libvirt"),
    ("provider 'libvirt' could not be found", "apt-get install vagrant-libvirt"),
    ("failed to connect to socket", "start libvirtd: systemctl start libvirtd"),
    ("Error while connecting to Libvirt", "start libvirtd: systemctl start libvirtd"),
    ("box '", "check the option box; `vagrant box list` shows those on this host"),
    ("/dev/kvm", 'set the option libvirt to {"driver": "qemu"}, which is slow, or enable KVM'),
    ("invalid domain type", 'set the option libvirt to {"driver": "qemu"}, or enable KVM'),
    ("Timed out while waiting for the machine to boot", "raise the option boot_seconds"),
    ("No space left on device", "make room on the disk"),
    ("VERR_NO_MEMORY", "use smaller machines"),
)
_STEP = re.compile(r"^(?:==> |    )(?P<machine>[a-z0-9-]+): (?P<text>.+)$")


@dataclass(frozen=True, slots=True)
class HostEntry:
    """A `Host` of `vagrant ssh-config`."""

    host: str
    port: int
    user: str
    key_file: str


def parse_states(text: str) -> dict[str, MachineState]:
    """From lines of `<timestamp>,<machine>,state,<state>`."""
    states: dict[str, MachineState] = {}
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) >= 4 and fields[1] and fields[2] == "state":
            states[fields[1]] = _STATES.get(fields[3], MachineState.STOPPED)
    return states


def parse_ssh_config(text: str) -> dict[str, HostEntry]:
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword == "Host":
            current = found.setdefault(value, {})
        elif keyword:
            current.setdefault(keyword, value.strip('"'))
    return {name: _entry(values) for name, values in found.items()}


def _entry(values: dict[str, str]) -> HostEntry:
    port = int(values.get("Port", "22"))
    return HostEntry(values["HostName"], port, values["User"], values["IdentityFile"])


def parse_step(line: str) -> tuple[str, str] | None:
    """(machine, text) of a line of progress; None for the rest, such as upload percentages and
    the dozens of settings (` -- Keymap: en-us`) that vagrant-libvirt lists for each machine."""
    found = _STEP.match(line)
    if found is None or "Progress:" in line or "\r" in line:
        return None
    text = found["text"].strip()
    return None if text.startswith("-- ") else (found["machine"], text)


def explain(command: str, output: str) -> ProviderError:
    """A failed command as an error with its last words and what to do."""
    words = " ".join(_meaningful(output))[-600:]
    for sign, fix in _FIXES:
        if sign.lower() in output.lower():
            kind = LabBusy if "already executing" in sign else ProviderError
            return kind(f"vagrant {command}: {words}", fix)
    return ProviderError(f"vagrant {command}: {words}")


def _meaningful(output: str) -> Iterator[str]:
    for line in output.splitlines():
        if line.strip() and "Progress:" not in line and not line.startswith(("==> ", "    ")):
            yield line.strip()
