"""Linux capabilities: the names in kernel order, the default set, and what a container gets.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import FailedPrecondition, InvalidArgument

# include/uapi/linux/capability.h, in the order of the bits.
_IN_KERNEL_ORDER = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
# The set that docker introduced and every CRI runtime kept.
_DEFAULT = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID
SETPCAP SETUID SYS_CHROOT
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(f"CAP_{word}" for word in text.split())


NAMES = _words(_IN_KERNEL_ORDER)
DEFAULT = _words(_DEFAULT)


def from_mask(mask: int) -> frozenset[str]:
    """The capabilities of a bit mask, as in /proc/self/status CapBnd."""
    return frozenset(name for bit, name in enumerate(NAMES) if mask >> bit & 1)


def _normal(names: Iterable[str]) -> set[str]:
    found = {n if n.startswith("CAP_") else f"CAP_{n}" for n in (x.upper() for x in names)}
    for name in sorted(found - set(NAMES) - {"CAP_ALL"}):
        raise InvalidArgument(f'unknown capability "{name}"')
    return found


def container_sets(
    wanted: cri.Capability, *, privileged: bool, available: frozenset[str], root: bool
) -> dict[str, list[str]]:
    """The OCI `process.capabilities` object.

    What this node cannot give (a machine without CAP_SYS_RESOURCE) is left out of "all", since
    OCI runtimes refuse what is outside their own bounding set; asked for by name, it is refused
    here. A process that is not root holds none effectively: exec(2) would clear them, as it does
    under every other runtime.
    """
    add = _normal([*wanted.add_capabilities, *wanted.add_ambient_capabilities])
    for name in sorted(add - available - {"CAP_ALL"}):
        raise FailedPrecondition(f'capability "{name}" is not available on this node')
    drop = _normal(wanted.drop_capabilities)
    if privileged:
        granted = set(NAMES)
    else:
        granted = set(NAMES) if "CAP_ALL" in add else set(DEFAULT)
        if "CAP_ALL" in drop:
            granted = set()
        granted = (granted | (add & set(NAMES))) - drop
    ambient = _normal(wanted.add_ambient_capabilities) & granted
    bounding = _ordered(granted & available)
    effective = bounding if root else _ordered(ambient & available)
    sets = {"bounding": bounding, "effective": effective, "permitted": effective}
    if ambient:
        sets["inheritable"] = sets["ambient"] = _ordered(ambient & available)
    return sets


def _ordered(names: Iterable[str]) -> list[str]:
    return [name for name in NAMES if name in set(names)]
