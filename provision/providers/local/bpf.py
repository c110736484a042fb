"""Programs in the kernel that guard a machine's cgroup: which devices, which sysctls.

They hang on a cgroup (version 2) that the machine neither sees nor reaches, so its root cannot take
them off, as it can a read-only mount (BPF_PROG_TYPE_CGROUP_DEVICE and _SYSCTL, bpf(2)). Attached
without a link, which could be detached by its number alone. Both are a handful of rules, tried one
after the other; what no rule allows is refused.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from provision.providers.base import ProviderError

_BPF = {"x86_64": 321, "aarch64": 280}  # no libc wraps bpf(2)
_PROG_LOAD, _PROG_ATTACH = 5, 8
_CGROUP_DEVICE, _CGROUP_SYSCTL = 15, 23  # program types
_ON_DEVICE, _ON_SYSCTL = 6, 18  # where they are attached
_ALLOW_MULTI = 2  # what the machine's systemd and runtime attach further down comes on top

# Codes of instructions (linux/bpf.h).
_LOAD = {8: 0x79, 4: 0x61, 2: 0x69, 1: 0x71}  # target = *(size *)(source + offset)
_MOVE, _MOVE_VALUE, _MOVE_VALUE64, _ADD_VALUE, _AND_VALUE = 0xBF, 0xB7, 0x18, 0x07, 0x57
_SHIFT_RIGHT_VALUE = 0x77
_IF_NOT_EQUAL, _IF_NOT_EQUAL_REGISTER = 0x55, 0x5D
_CALL, _EXIT = 0x85, 0x95
_SYSCTL_GET_NAME = 101  # a helper: the sysctl's name into a buffer
_NAME_BYTES = 64
_FRAME = 10  # the register that points to the end of the stack

# A sysctl whose name begins so belongs to the machine's own namespaces; all others are the host's.
OWN_SYSCTLS = (
    "net/",
    "kernel/shm",
    "kernel/msg",
    "kernel/sem",
    "fs/mqueue/",
    "kernel/hostname",
    "kernel/domainname",
)
_ACCESS = {"m": 1, "r": 2, "w": 4}
_KIND = {"b": 1, "c": 2}


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction (struct bpf_insn). A `leaves` jumps behind the rule that it stands in."""

    code: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0
    leaves: bool = False

    def pack(self) -> bytes:
        registers = self.source << 4 | self.target
        return struct.pack("=BBhI", self.code, registers, self.offset, self.value & 0xFFFFFFFF)


_ALLOW = (_Step(_MOVE_VALUE, 0, value=1), _Step(_EXIT))
_REFUSE = (_Step(_MOVE_VALUE, 0, value=0), _Step(_EXIT))


def device_program(rules: Iterable[str]) -> bytes:
    """`rules` as in version 1's devices.allow: `c 1:3 rwm`, `b *:* m`."""
    # struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor.
    steps = [
        _Step(_LOAD[4], 2, 1, 0),
        _Step(_MOVE, 3, 2),
        _Step(_AND_VALUE, 2, value=0xFFFF),
        _Step(_SHIFT_RIGHT_VALUE, 3, value=16),
        _Step(_LOAD[4], 4, 1, 4),
        _Step(_LOAD[4], 5, 1, 8),
    ]
    for rule in rules:
        steps += _rule(_device_conditions(rule))
    return _packed([*steps, *_REFUSE])


def _device_conditions(rule: str) -> Iterator[_Step]:
    kind, numbers, access = rule.split()
    yield _Step(_IF_NOT_EQUAL, 2, value=_KIND[kind], leaves=True)
    for register, number in zip((4, 5), numbers.split(":"), strict=True):
        if number != "*":
            yield _Step(_IF_NOT_EQUAL, register, value=int(number), leaves=True)
    allowed = sum(_ACCESS[letter] for letter in access)
    yield _Step(_MOVE, 6, 3)
    yield _Step(_AND_VALUE, 6, value=sum(_ACCESS.values()) & ~allowed)
    yield _Step(_IF_NOT_EQUAL, 6, value=0, leaves=True)


def sysctl_program(own: Iterable[str]) -> bytes:
    """Everything may be read, and what begins with one of `own` may be written."""
    # struct bpf_sysctl: write, file_pos.
    steps = [
        _Step(_LOAD[4], 2, 1, 0),
        *_rule([_Step(_IF_NOT_EQUAL, 2, value=0, leaves=True)]),
        _Step(_MOVE, 2, _FRAME),
        _Step(_ADD_VALUE, 2, value=-_NAME_BYTES),
        _Step(_MOVE_VALUE, 3, value=_NAME_BYTES),
        _Step(_MOVE_VALUE, 4, value=0),
        _Step(_CALL, value=_SYSCTL_GET_NAME),
    ]
    for prefix in own:
        steps += _rule(_prefix_conditions(prefix.encode()))
    return _packed([*steps, *_REFUSE])


def _prefix_conditions(prefix: bytes) -> Iterator[_Step]:
    """The buffer compared with `prefix`, in pieces of 8, 4, 2 and 1 bytes."""
    done = 0
    while done < len(prefix):
        size = next(s for s in _LOAD if s <= len(prefix) - done)
        value = int.from_bytes(prefix[done : done + size], "little")
        yield _Step(_LOAD[size], 1, _FRAME, done - _NAME_BYTES)
        yield _Step(_MOVE_VALUE64, 2, value=value)
        yield _Step(0, value=value >> 32)  # the upper half has a place of its own
        yield _Step(_IF_NOT_EQUAL_REGISTER, 1, 2, leaves=True)
        done += size


def _rule(conditions: Iterable[_Step]) -> list[_Step]:
    """Allow where every condition holds, else go on behind this rule."""
    steps = [*conditions, *_ALLOW]
    last = len(steps) - 1
    return [replace(s, offset=last - i) if s.leaves else s for i, s in enumerate(steps)]


def _packed(steps: list[_Step]) -> bytes:
    return b"".join(step.pack() for step in steps)


def guard(cgroup: Path, device_rules: Iterable[str]) -> None:
    """Attach both programs to `cgroup`. Raises ProviderError where the kernel cannot."""
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for kind, place, program in (
            (_CGROUP_DEVICE, _ON_DEVICE, device_program(device_rules)),
            (_CGROUP_SYSCTL, _ON_SYSCTL, sysctl_program(OWN_SYSCTLS)),
        ):
            loaded = _load(kind, place, program)
            try:
                _bpf(_PROG_ATTACH, struct.pack("=IIII", directory, loaded, place, _ALLOW_MULTI))
            finally:
                os.close(loaded)
    except OSError as error:
        raise ProviderError(
            f"the kernel takes no program for {cgroup}: {error.strerror}",
            "use a distribution's kernel (CONFIG_CGROUP_BPF)",
        ) from error
    finally:
        os.close(directory)


def why_not() -> str:
    """Why this host has no such programs; empty where it has."""
    try:
        os.close(_load(_CGROUP_SYSCTL, _ON_SYSCTL, sysctl_program(OWN_SYSCTLS)))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _load(kind: int, place: int, program: bytes) -> int:
    """BPF_PROG_LOAD: the program's descriptor."""
    code = ctypes.create_string_buffer(program)
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    # union bpf_attr: type, count, instructions, licence, log level and size, log, kernel version,
    # flags, name, interface, and the place that it will be attached to.
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(kind, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0, b"muster_guard", 0, place),
    )
    return _bpf(_PROG_LOAD, attributes)


def _bpf(command: int, attributes: bytes) -> int:
    number = _BPF.get(os.uname().machine)
    if number is None:
        raise OSError(0, "unknown architecture")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes)
    size = ctypes.c_uint(len(attributes))
    result: int = libc.syscall(ctypes.c_long(number), ctypes.c_int(command), buffer, size)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
