"""Seccomp profiles as the OCI runtime takes them: our default, and files of the node. Pure.

A file may be an OCI `linux.seccomp` object or the form that Docker's profiles have, which adds
`archMap` and, to a rule, conditions (`includes`, `excludes`). Whatever is not understood is
refused: a rule that is silently dropped may be the one that its author counted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from worker.runtime.errors import InvalidArgument
from worker.runtime.oci.seccomp_default import RULES

_EPERM, _ENOSYS = 1, 38
# The architecture of the kernel first, then what it can run beside it.
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
# What conditions call the machines.
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_ACTIONS = frozenset(
    f"SCMP_ACT_{name}"
    for name in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG")
)
_OPERATORS = frozenset(
    f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
)
_FLAGS = frozenset(
    f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")
)
_MAX_BYTES = 1 << 20


class _Strict(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class _Arg(_Strict, frozen=True, rename="camel"):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Condition(_Strict, frozen=True, rename="camel"):
    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = ""


class _Rule(_Strict, frozen=True, rename="camel"):
    action: str
    names: tuple[str, ...] = ()
    name: str = ""
    errno_ret: int | None = None
    errno: str = ""  # the name of errnoRet, for people
    args: tuple[_Arg, ...] | None = ()
    comment: str = ""
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _ArchMap(_Strict, frozen=True, rename="camel"):
    architecture: str
    sub_architectures: tuple[str, ...] | None = ()


class _Profile(_Strict, frozen=True, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    default_errno: str = ""
    architectures: tuple[str, ...] | None = ()
    arch_map: tuple[_ArchMap, ...] | None = ()
    flags: tuple[str, ...] | None = ()
    syscalls: tuple[_Rule, ...] | None = ()
    comment: str = ""


def default_profile(granted: Iterable[str], machine: str) -> dict[str, Any]:
    """`RuntimeDefault` for a container that holds the capabilities `granted`."""
    held = set(granted)
    rules = [
        _allow(rule.names.split(), rule.args)
        for rule in RULES
        if not rule.capabilities or held.intersection(rule.capabilities)
    ]
    if "CAP_SYS_ADMIN" not in held:
        # Its flags lie in memory, where a filter cannot look: C libraries fall back to clone.
        rules.append(
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS, "args": []}
        )
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": list(_ARCHITECTURES.get(machine, ())),
        "syscalls": rules,
    }


def _allow(names: Sequence[str], args: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": [dict(a) for a in args]}


def parse_profile(
    data: bytes, path: str, granted: Iterable[str], machine: str, kernel: str
) -> dict[str, Any]:
    """A profile's text as an OCI object. Raises InvalidArgument in containerd's words."""
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        profile = msgspec.json.decode(data, type=_Profile)
        return _translate(profile, set(granted), machine, kernel)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidArgument(f'decoding seccomp profile failed "{path}": {error}') from error


def _translate(profile: _Profile, granted: set[str], machine: str, kernel: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "defaultAction": _known(profile.default_action, _ACTIONS, "action"),
        "architectures": _architectures(profile, machine),
        "syscalls": [
            _rule(rule)
            for rule in profile.syscalls or ()
            if _applies(rule, granted, machine, kernel)
        ],
    }
    if profile.default_errno_ret is not None:
        result["defaultErrnoRet"] = _errno(profile.default_errno_ret)
    if profile.flags:
        result["flags"] = [_known(flag, _FLAGS, "flag") for flag in profile.flags]
    return result


def _architectures(profile: _Profile, machine: str) -> list[str]:
    native = _ARCHITECTURES.get(machine, ())
    if profile.architectures and profile.arch_map:
        raise ValueError("both architectures and archMap are given")
    for entry in profile.arch_map or ():
        if entry.architecture in native[:1]:
            return [entry.architecture, *(entry.sub_architectures or ())]
    return list(profile.architectures or native)


def _rule(rule: _Rule) -> dict[str, Any]:
    names = rule.names or ((rule.name,) if rule.name else ())
    if not names:
        raise ValueError("a rule names no system call")
    result: dict[str, Any] = {
        "names": list(names),
        "action": _known(rule.action, _ACTIONS, "action"),
        "args": [_arg(arg) for arg in rule.args or ()],
    }
    if rule.errno_ret is not None:
        result["errnoRet"] = _errno(rule.errno_ret)
    return result


def _arg(arg: _Arg) -> dict[str, Any]:
    if not 0 <= arg.index <= 5 or not all(0 <= v < 2**64 for v in (arg.value, arg.value_two)):
        raise ValueError(f"argument {arg.index} or its value is out of range")
    return {"index": arg.index, "value": arg.value, "valueTwo": arg.value_two,
            "op": _known(arg.op, _OPERATORS, "operator")}  # fmt: skip


def _errno(number: int) -> int:
    if not 0 <= number <= 4095:
        raise ValueError(f"errno {number} is out of range")
    return number


def _known(word: str, words: frozenset[str], what: str) -> str:
    if word not in words:
        raise ValueError(f'unknown {what} "{word}"')
    return word


def _applies(rule: _Rule, granted: set[str], machine: str, kernel: str) -> bool:
    includes, excludes = rule.includes, rule.excludes
    if includes is not None:
        if includes.arches and _GO_NAMES.get(machine, machine) not in includes.arches:
            return False
        if not set(includes.caps) <= granted:
            return False
        if includes.min_kernel and _version(kernel) < _version(includes.min_kernel):
            return False
    if excludes is not None:
        if _GO_NAMES.get(machine, machine) in excludes.arches or granted & set(excludes.caps):
            return False
        if excludes.min_kernel and _version(kernel) >= _version(excludes.min_kernel):
            return False
    return True


def _version(text: str) -> tuple[int, int]:
    """`6.1.0-13-amd64` as (6, 1)."""
    major, _, rest = text.partition(".")
    minor = "".join(c for c in rest.partition(".")[0] if c.isdigit())
    return int(major), int(minor or 0)
