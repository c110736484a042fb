"""Drives a real lab through the commands that a user types. Imported by the lab tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HostState = dict[str, list[str]]
ROOT = Path(__file__).resolve().parents[2]
MUSTER = (sys.executable, "-m", "muster")


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class LabDriver:
    name: str
    kubeconfig: Path

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "NO_COLOR": "1"}

    def run(self, *command: str, timeout: float = 120, stdin: str | None = None) -> Done:
        done = subprocess.run(
            command,
            env=self.env,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def muster(self, *args: str, timeout: float = 300) -> Done:
        return self.run(*MUSTER, *args, timeout=timeout)

    def kubectl(self, *args: str, timeout: float = 120, stdin: str | None = None) -> str:
        """Stdout of a kubectl command that must succeed."""
        done = self.try_kubectl(*args, timeout=timeout, stdin=stdin)
        assert done.code == 0, f"kubectl {' '.join(args)}: {done.err}{done.out}"
        return done.out

    def try_kubectl(self, *args: str, timeout: float = 120, stdin: str | None = None) -> Done:
        context = f"--context=muster-{self.name}"
        return self.run("kubectl", context, *args, timeout=timeout, stdin=stdin)

    def get(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def ssh(self, node: str, command: str, timeout: float = 120) -> Done:
        return self.muster("ssh", "--name", self.name, node, "--", command, timeout=timeout)

    def addresses(self) -> dict[str, str]:
        """InternalIP of every node."""
        return {
            node["metadata"]["name"]: next(
                a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"
            )
            for node in self.get("nodes")["items"]
        }

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The pods that are not on their way out."""
        items = self.get("pods", "-l", selector)["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def eventually(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """The first true value of `condition`; fails after `timeout` seconds with `what`."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            last = error
        time.sleep(0.25)
    raise AssertionError(f"{what}: not within {timeout} s ({last})")


def host_state() -> HostState:
    """Everything of the host that a lab could leave behind, in comparable form."""

    def lines(command: Sequence[str]) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return sorted(done.stdout.splitlines())

    links = lines(["ip", "-br", "link"])
    return {
        "namespaces": lines(["ip", "netns", "list"]),
        "links": [line.split()[0] for line in links],
        "routes": lines(["ip", "route"]),
        "mounts": sorted(Path("/proc/self/mounts").read_text().splitlines()),
        "rules": [
            line
            for line in lines(["iptables-save"])
            if line and not line.startswith("#") and not line.startswith(":")
        ],
        # Not all: sessions of this host's users come and go.
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").rglob("mu-*")),
    }


def host_changes(lab: str, before: HostState, after: HostState) -> list[str]:
    """What `lab` left on the host, or took. What names another lab or test is somebody else's."""
    changes = [f"left: {k}: {x}" for k in after for x in after[k] if x not in before[k]]
    changes += [f"gone: {k}: {x}" for k in before for x in before[k] if x not in after[k]]
    others = [line for line in changes if re.search(rf"\b(mu-(?!{lab}\b)|mt-)", line)]
    if others:  # the directory of all namespaces is mounted by whoever comes first
        others += [line for line in changes if re.search(r"/run/netns\b(?!/)", line)]
    return [line for line in changes if line not in others]
