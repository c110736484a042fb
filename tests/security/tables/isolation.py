"""What root in a local machine, a privileged pod and an ordinary pod can do to the host.

Each attack is a shell command that ends with 0 when it got through, and does no harm then: it
writes the value that was there, or opens without writing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.lab_driver import LabDriver
from tests.security.tables import Table

NAMES = {False: "t-walls2", True: "t-walls3"}
_LAB = """\
apiVersion: muster/v1
kind: Lab
metadata: {{name: {name}}}
spec:
  workers: 1
  local: {{userNamespaces: {own}}}
"""
BUSYBOX = "muster.local/busybox:1"
_PROC = "mkdir -p /tmp/p && mount -t proc proc /tmp/p && "
_SYS = "mkdir -p /tmp/s && mount -t sysfs sysfs /tmp/s && "


def _same(path: str) -> str:
    return f"cat {path} > /tmp/v && cat /tmp/v > {path}"


def _host_disk() -> str:
    """`major minor` of the first disk of this host."""
    return " ".join(Path("/proc/partitions").read_text().split()[4:6])


def attacks() -> dict[str, str]:
    sysrq = "open `/proc/sysrq-trigger` of a `/proc` mounted anew"
    if not Path("/proc/sysrq-trigger").exists():
        sysrq += " (this kernel has none)"
    device = "rm -f /tmp/d; mknod /tmp/d {} && head -c1 /tmp/d > /dev/null"
    return {
        "write `kernel.core_pattern` where it is mounted": _same("/proc/sys/kernel/core_pattern"),
        "remount `/proc/sys` writable, then write it": (
            f"mount -o remount,rw,bind /proc/sys && {_same('/proc/sys/kernel/core_pattern')}"
        ),
        "mount `/proc` anew, then write it": _PROC + _same("/tmp/p/sys/kernel/core_pattern"),
        "the same with `vm.swappiness`": _PROC + _same("/tmp/p/sys/vm/swappiness"),
        "write `net.*` of its own network": _same("/proc/sys/net/ipv4/ip_default_ttl"),
        "read the host's disk by a device node of its own": device.format(f"b {_host_disk()}"),
        "open `loop-control`": "rm -f /tmp/d; mknod /tmp/d c 10 237 && exec 3<> /tmp/d",
        "read the kernel's memory (`/dev/mem`)": device.format("c 1 1"),
        # busybox ends with 0 whatever happened
        "set the clock": "! date -s @$(date +%s) 2>&1 | grep -qE 'cannot set|can.t set'",
        "read the kernel's log": "dmesg | grep -q .",
        "name a release agent for cgroups": (
            "for d in /sys/fs/cgroup/memory /sys/fs/cgroup; do"
            " [ -e $d/release_agent ] && { : >> $d/release_agent; exit; }; done; exit 1"
        ),
        sysrq: _PROC + ": >> /tmp/p/sysrq-trigger",
        "open the kernel's settings in a `/sys` mounted anew": (
            _SYS + "for f in kernel/mm/transparent_hugepage/enabled power/state"
            " kernel/uevent_helper kernel/rcu_normal; do"
            " [ -e /tmp/s/$f ] && { : >> /tmp/s/$f; exit; }; done; exit 1"
        ),
    }


def _pod(name: str, *, privileged: bool) -> dict[str, object]:
    container = {
        "name": "c",
        "image": BUSYBOX,
        "command": ["sleep", "100000"],
        "securityContext": {"privileged": privileged},
    }
    spec = {"nodeName": "w1", "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@contextmanager
def a_lab(*, own_users: bool) -> Iterator[LabDriver]:
    """With a pod of each kind. `own_users`: its machines have user namespaces."""
    name = NAMES[own_users]
    with tempfile.TemporaryDirectory() as directory:
        lab = LabDriver(name, Path(directory) / "config")
        file = Path(directory) / "lab.yaml"
        file.write_text(_LAB.format(name=name, own=str(own_users).lower()))
        try:
            up = lab.muster("up", "-f", str(file), timeout=420)
            assert up.code == 0, up.err
            for kind, privileged in (("ordinary", False), ("privileged", True)):
                pod = json.dumps(_pod(kind, privileged=privileged))
                lab.kubectl("apply", "-f", "-", stdin=pod)
            lab.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
            yield lab
        finally:
            lab.muster("down", "--name", name)


def measured(lab: LabDriver) -> dict[str, tuple[bool, bool, bool]]:
    """For each attack, whether it got through: on the machine, in both pods."""

    def on_machine(command: str) -> bool:
        inside = f"unshare --mount sh -c '{command.replace(chr(39), chr(34))}'"
        return lab.ssh("w1", inside).code == 0

    def in_pod(name: str) -> Callable[[str], bool]:
        return lambda command: lab.try_kubectl("exec", name, "--", "sh", "-c", command).code == 0

    places = (on_machine, in_pod("privileged"), in_pod("ordinary"))
    return {
        what: tuple(place(command) for place in places)  # type: ignore[misc]  # three of them
        for what, command in attacks().items()
    }


def table() -> Table:
    with a_lab(own_users=False) as lab:
        found = measured(lab)
    with a_lab(own_users=True) as lab:
        own = measured(lab)
    header = (
        "what is tried",
        "root in a local machine",
        "privileged pod on it",
        "ordinary pod",
        "root in one with `userNamespaces`",
        "privileged pod on that",
    )
    rows = [
        (what, *("**yes**" if x else "no" for x in (*cells, *own[what][:2])))
        for what, cells in found.items()
    ]
    return Table(header, rows)
