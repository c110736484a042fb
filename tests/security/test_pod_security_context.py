"""Every securityContext field is given, or the pod is refused in upstream's words.

One container a row is really started, and looks at itself from inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kube.api import core
from kube.machinery import errors
from tests.component.kubelet_harness import Machine, Pods, machine, waiting_reason
from tests.security.pod_harness import all_settled, event, fields, log_of, looking, put
from worker.kubelet.pod.gate import kernel_has_apparmor

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
Spec = dict[str, Any]
Seen = dict[str, str]

NO_CHMOD = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO",
         "errnoRet": 5}
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Given:
    """The field has its effect: `holds` is true of what the container saw."""

    spec: Spec
    holds: Callable[[Seen], object]


@dataclass(frozen=True)
class Refused:
    """The pod fails as a whole, or its container says why it is not started."""

    spec: Spec
    reason: str
    message: str
    by_node: bool = field(default=False)  # the pod is Failed, not waiting
    by_api: bool = field(default=False)  # upstream's validation does not let it in at all


def context(**values: Any) -> Spec:
    return {"container": {"securityContext": values}}


def of_pod(**values: Any) -> Spec:
    return {"securityContext": values}


def seccomp(kind: str, profile: str = "") -> Spec:
    return {"seccompProfile": {"type": kind} | ({"localhostProfile": profile} if profile else {})}


def sysctl(name: str, value: str = "1", **spec: Any) -> Spec:
    return of_pod(sysctls=[{"name": name, "value": value}]) | spec


def mask(seen: Seen, name: str) -> int:
    return int(seen[name], 16)


VOLUME = {"volumes": [{"name": "v", "emptyDir": {}}],
          "container": {"volumeMounts": [{"name": "v", "mountPath": "/volume"}]}}  # fmt: skip
WINDOWS = {"windowsOptions": {"runAsUserName": "Administrator"}}

GIVEN: dict[str, Given] = {
    "nothing-asked": Given({}, lambda s: s["Seccomp"] == "0" and s["NoNewPrivs"] == "0"
                           and s["chmod"] == "done" and s["proc_sys"] == "ro"),
    "seccomp-default": Given(context(**seccomp("RuntimeDefault")),
                             lambda s: s["Seccomp"] == "2" and s["chmod"] == "done"),
    "seccomp-default-of-pod": Given(of_pod(**seccomp("RuntimeDefault")),
                                    lambda s: s["Seccomp"] == "2"),
    "seccomp-localhost": Given(context(**seccomp("Localhost", "team/no-chmod.json")),
                               lambda s: s["Seccomp"] == "2" and "done" not in s["chmod"]),
    "seccomp-unconfined": Given(
        context(**seccomp("Unconfined")) | of_pod(**seccomp("RuntimeDefault")),
        lambda s: s["Seccomp"] == "0"),
    "seccomp-privileged": Given(context(privileged=True, **seccomp("RuntimeDefault")),
                                lambda s: s["Seccomp"] == "0"),
    "no-escalation": Given(context(allowPrivilegeEscalation=False),
                           lambda s: s["NoNewPrivs"] == "1"),
    "capabilities": Given(context(capabilities={"add": ["NET_ADMIN"], "drop": ["ALL"]}),
                          lambda s: mask(s, "CapBnd") == mask(s, "CapEff") == 1 << 12),
    "capabilities-dropped": Given(context(capabilities={"drop": ["NET_RAW"]}),
                                  lambda s: mask(s, "CapBnd") and not mask(s, "CapBnd") >> 13 & 1),
    "read-only-rootfs": Given(context(readOnlyRootFilesystem=True),
                              lambda s: s["rootfs"] == "read-only"),
    "run-as": Given(context(runAsUser=1234, runAsGroup=4321),
                    lambda s: s["Uid"] == "1234 1234 1234 1234" and s["Gid"].startswith("4321 ")
                    and mask(s, "CapEff") == 0),
    "run-as-non-root": Given(context(runAsNonRoot=True, runAsUser=1000),
                             lambda s: s["Uid"].startswith("1000 ")),
    "groups": Given(of_pod(supplementalGroups=[4000], fsGroup=2000) | VOLUME,
                    lambda s: {"4000", "2000"} <= set(s["Groups"].split())
                    and s["volume"] == "0 2000"),
    "groups-strict": Given(of_pod(supplementalGroups=[4000], supplementalGroupsPolicy="Strict"),
                           lambda s: set(s["Groups"].split()) <= {"0", "4000"}),
    "fs-group-change": Given(of_pod(fsGroup=2000, fsGroupChangePolicy="OnRootMismatch") | VOLUME,
                             lambda s: s["volume"] == "0 2000"),
    "safe-sysctl": Given(sysctl("net.ipv4.ip_unprivileged_port_start", "80"),
                         lambda s: s["port_start"] == "80"),
    "safe-sysctl-slashes": Given(sysctl("net/ipv4/ip_unprivileged_port_start", "81"),
                                 lambda s: s["port_start"] == "81"),
    "allowed-sysctl": Given(sysctl("net.core.somaxconn", "77"), lambda s: s["Seccomp"] == "0"),
    "shared-processes": Given({"shareProcessNamespace": True},
                              lambda s: not s["first"].startswith("sh ")),
    # No effect where the kernel enforces no labels, as upstream.
    "selinux": Given(context(seLinuxOptions={"level": "s0:c123,c456"}),
                     lambda s: s["Seccomp"] == "0"),
    "host-users": Given({"hostUsers": False} | VOLUME,
                        lambda s: re.fullmatch(r"0 [1-9]\d* 65536", s["uid_map"])
                        and s["Uid"].startswith("0 ") and s["rootfs"] == "writable"
                        and s["volume"] == "0 0"),
    "host-users-true": Given({"hostUsers": True}, lambda s: s["uid_map"].startswith("0 0 ")),
    "host-users-and-all": Given(
        {"hostUsers": False, "shareProcessNamespace": True}
        | of_pod(fsGroup=2000, runAsUser=1000, **seccomp("RuntimeDefault")) | VOLUME,
        lambda s: not s["uid_map"].startswith("0 0 ") and s["Seccomp"] == "2"
        and s["Uid"].startswith("1000 ") and s["volume"] == "0 2000"),
    "proc-mount-unmasked": Given({"hostUsers": False} | context(procMount="Unmasked"),
                                 lambda s: s["proc_sys"] == ""),
    "proc-mount-default": Given(context(procMount="Default"), lambda s: s["proc_sys"] == "ro"),
}  # fmt: skip

APPARMOR = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
REFUSED: dict[str, Refused] = {
    "seccomp-missing": Refused(
        context(**seccomp("Localhost", "nowhere.json")), "CreateContainerError",
        "cannot load seccomp profile"),
    "seccomp-broken": Refused(
        context(**seccomp("Localhost", "broken.json")), "CreateContainerError",
        "decoding seccomp profile failed"),
    "seccomp-unknown-action": Refused(
        context(**seccomp("Localhost", "odd.json")), "CreateContainerError",
        'unknown action "SCMP_ACT_NOTIFY"'),
    "seccomp-is-a-fifo": Refused(
        context(**seccomp("Localhost", "fifo.json")), "CreateContainerError",
        "cannot load seccomp profile"),
    "capability-unknown": Refused(
        context(capabilities={"add": ["FLY"]}), "CreateContainerError",
        'unknown capability "CAP_FLY"'),
    "non-root-image": Refused(
        context(runAsNonRoot=True), "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root"),
    "non-root-zero": Refused(
        context(runAsNonRoot=True, runAsUser=0), "CreateContainerConfigError",
        "container's runAsUser breaks non-root policy"),
    "proc-mount-unmasked-host-users": Refused(
        context(procMount="Unmasked"), "CreateContainerConfigError",
        "`hostUsers` must be false to use `Unmasked`", by_api=True),
    "unsafe-sysctl": Refused(
        sysctl("kernel.msgmax", "65536"), "SysctlForbidden",
        'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted', True),
    "node-sysctl": Refused(
        sysctl("kernel.core_pattern", "core"), "SysctlForbidden",
        'Pod was rejected: forbidden sysctl: "kernel.core_pattern" not allowlisted', True),
    "sysctl-of-host-network": Refused(
        sysctl("net.ipv4.tcp_syncookies", "0", hostNetwork=True), "SysctlForbidden",
        'Pod was rejected: forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net '
        "enabled", True, True),
    "sysctl-of-host-ipc": Refused(
        sysctl("kernel.shm_rmid_forced", "0", hostIPC=True), "SysctlForbidden",
        'Pod was rejected: forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC '
        "enabled", True, True),
    "windows-user": Refused(
        context(**WINDOWS), "PodOSNotSupported",
        "Pod was rejected: Failed to admit pod as it sets securityContext.windowsOptions and the "
        "node runs linux", True),
    "windows": Refused(
        {"os": {"name": "windows"}}, "PodOSNotSupported",
        "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS", True),
}  # fmt: skip
if not kernel_has_apparmor():
    REFUSED |= {
        "apparmor-default": Refused(
            context(appArmorProfile={"type": "RuntimeDefault"}), "AppArmor",
            f"Pod was rejected: {APPARMOR}", True),
        "apparmor-localhost": Refused(
            of_pod(appArmorProfile={"type": "Localhost", "localhostProfile": "mine"}), "AppArmor",
            f"Pod was rejected: {APPARMOR}", True),
        "apparmor-annotation": Refused(
            {"metadata": {"annotations":
                          {"container.apparmor.security.beta.kubernetes.io/c": "localhost/mine"}}},
            "AppArmor", f"Pod was rejected: {APPARMOR}", True),
    }  # fmt: skip


@pytest.fixture(scope="module")
def node(images: Path) -> Iterator[Machine]:
    with machine(images, "crun", "--allowed-unsafe-sysctls=net.core.*") as made:
        profiles = made.lab.root / "kubelet/seccomp"
        put(profiles / "team/no-chmod.json", json.dumps(NO_CHMOD))
        put(profiles / "broken.json", '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [')
        put(profiles / "odd.json", '{"defaultAction": "SCMP_ACT_NOTIFY"}')
        made.start("fifo", "mkfifo", str(profiles / "fifo.json"))
        made.stop("fifo")
        try:
            yield made
        finally:
            print(made.tail())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settled(node: Machine) -> Any:
    """All pods of the table at once; each test looks at its own."""
    wanted = {name: looking(name, row.spec) for name, row in (GIVEN | REFUSED).items()}
    async with node.client() as client:
        pods = Pods(client)
        yield await all_settled(pods, wanted), client
        await pods.clean()


@pytest.mark.parametrize("name", GIVEN)
async def test_the_field_is_given(node: Machine, settled: Any, name: str) -> None:
    subject: core.Pod = settled[0][name]
    assert subject.status.phase == "Succeeded", (subject.status, waiting_reason(subject))
    seen = fields(log_of(node, subject))
    assert GIVEN[name].holds(seen), seen


@pytest.mark.parametrize("name", REFUSED)
async def test_the_pod_is_refused(settled: Any, name: str) -> None:
    found, client = settled
    subject, row = found[name], REFUSED[name]
    if isinstance(subject, errors.Invalid):
        assert row.by_api, str(subject)
        return  # what the node says to it, `test_kubelet_admission` knows
    assert isinstance(subject, core.Pod)
    status = subject.status
    if row.by_node:
        assert (status.phase, status.reason, status.message) == ("Failed", row.reason, row.message)
        assert not status.container_statuses
        told = await event(client, name, row.reason)
        assert (told.type, f"Pod was rejected: {told.message}") == ("Warning", row.message)
        return
    assert status.phase == "Pending"
    state = status.container_statuses[0].state
    assert state and state.waiting
    assert state.waiting.reason == row.reason
    assert row.message in state.waiting.message
    told = await event(client, name, "Failed")
    assert row.message in told.message
