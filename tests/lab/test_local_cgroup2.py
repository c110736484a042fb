"""Machines boot, freeze and end on hosts where cgroup version 2 is all there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.providers.local import cgroupfs, checks

ROOT = Path(__file__).parents[2]
LIFE = Path(__file__).with_name("cgroup2_life.py")
# In mounts of its own: neither the unmounting nor the mount is seen by anybody else.
PURE = """
for hierarchy in /sys/fs/cgroup/*; do umount -n "$hierarchy"; done
umount -n /sys/fs/cgroup
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
exec "$@"
"""


@pytest.mark.root
@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="making machines needs root")
@pytest.mark.skipif(
    cgroupfs.host_layout().kind == "v2", reason="test_local_machines.py runs on version 2 here"
)
@pytest.mark.parametrize("users", ["host", "own"])
def test_a_machines_life_under_cgroup_version_2(tmp_path: Path, users: str) -> None:
    if users == "own" and (reason := checks.users_lacking()):
        pytest.skip(reason)
    done = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "sh", "-ec", PURE, "sh"),
            *(sys.executable, str(LIFE), str(tmp_path), users),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen.pop("service").startswith("cgroup.")
    assert "not permitted" in seen.pop("host's disk")
    assert seen == {
        "kind": "v2",
        "system": "running",
        "mounts": "1",
        "pid 1": "0::/init.scope",
        "host's sysctl": "1",
        "pause": "paused",
        "resume": "running",
        "stop": "stopped",
        "start": "running",
        "power_off": "stopped",
        "left": [],
    }
