"""Seccomp profiles: the default by capability, and files in both forms that people have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import InvalidArgument
from worker.runtime.oci import capabilities, seccomp
from worker.runtime.sandboxes import sysctls

MACHINE, KERNEL = "x86_64", "6.1.0-13-amd64"


def allowed(profile: dict[str, Any]) -> set[str]:
    rules = profile["syscalls"]
    return {n for r in rules if r["action"] == "SCMP_ACT_ALLOW" for n in r["names"]}


def parse(document: Any, granted: tuple[str, ...] = ()) -> dict[str, Any]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return seccomp.parse_profile(data, "/p.json", granted, MACHINE, KERNEL)


def test_what_is_not_named_is_refused_by_default() -> None:
    profile = seccomp.default_profile(capabilities.DEFAULT, MACHINE)
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert profile["architectures"][0] == "SCMP_ARCH_X86_64"
    names = allowed(profile)
    assert {"read", "openat", "execve", "clone", "chroot", "socket"} <= names
    dangerous = {
        "keyctl", "add_key", "request_key", "userfaultfd", "io_uring_setup", "mount", "unshare",
        "setns", "bpf", "init_module", "kexec_load", "open_by_handle_at", "reboot", "swapon",
        "clone3", "perf_event_open", "iopl", "acct", "settimeofday", "pivot_root",
    }  # fmt: skip
    assert not dangerous & names


@pytest.mark.parametrize(
    ("capability", "call"),
    [
        ("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_ADMIN", "clone3"), ("CAP_SYS_TIME", "settimeofday"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"), ("CAP_BPF", "bpf"),
        ("CAP_SYS_MODULE", "init_module"), ("CAP_SYS_BOOT", "reboot"),
    ],
)  # fmt: skip
def test_a_capability_opens_what_belongs_to_it(capability: str, call: str) -> None:
    assert call not in allowed(seccomp.default_profile((), MACHINE))
    assert call in allowed(seccomp.default_profile((capability,), MACHINE))


def test_without_sys_admin_clone_makes_no_namespace_and_clone3_is_unknown() -> None:
    rules = seccomp.default_profile((), MACHINE)["syscalls"]
    clone = next(r for r in rules if r["names"] == ["clone"])
    assert clone["args"][0]["op"] == "SCMP_CMP_MASKED_EQ"
    assert clone["args"][0]["value"] == 0x7E020000
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": []} in rules


def test_an_oci_profile_is_taken_as_it_is() -> None:
    made = parse({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                      "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}],
    })  # fmt: skip
    assert made["defaultErrnoRet"] == 38
    assert made["architectures"] == ["SCMP_ARCH_X86_64"]
    assert made["syscalls"][0]["args"] == [
        {"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
    ]


def test_dockers_form_is_translated() -> None:
    admin = {"caps": ["CAP_SYS_ADMIN"]}
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        ],
        "syscalls": [
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": admin},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": admin},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.0"}},
            {"name": "breakpoint", "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        ],
    }  # fmt: skip
    assert parse(document)["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert allowed(parse(document)) == {"clone", "ptrace"}
    assert allowed(parse(document, ("CAP_SYS_ADMIN",))) == {"mount", "ptrace"}


@pytest.mark.parametrize(
    "document",
    [
        b"{", b"[]", b"", {}, {"defaultAction": "ALLOW"},
        {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_KILL"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 70000},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_KILL",
             "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "surprise": True},
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(document: Any) -> None:
    with pytest.raises(InvalidArgument, match=r'decoding seccomp profile failed "/p.json"'):
        parse(document)


POD = cri.NamespaceOption(network=cri.POD, ipc=cri.POD)
NODE = cri.NamespaceOption(network=cri.NODE, ipc=cri.NODE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kernel.core_pattern", POD), ("kernel/core_pattern", POD), ("vm.overcommit_memory", POD),
        ("net.ipv4.ip_forward", NODE), ("kernel.msgmax", NODE), ("fs.mqueue.msg_max", NODE),
        ("net/../kernel/core_pattern", POD), ("/etc/passwd", POD), ("kernel.shm", POD), ("", POD),
    ],
)  # fmt: skip
def test_a_sysctl_of_the_machine_is_refused(name: str, options: cri.NamespaceOption) -> None:
    with pytest.raises(InvalidArgument, match="is not in a separate kernel namespace"):
        sysctls.check([name], options)


def test_a_pods_own_sysctls_pass() -> None:
    names = ("net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/forwarding", "kernel.msgmax")
    sysctls.check([*names, "fs.mqueue.msg_max"], POD)
