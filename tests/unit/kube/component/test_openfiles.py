"""What a component may open, what a container inherits, and what every unit says of it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from kube.component.openfiles import affordable_connections
from provision.payload.model import Unit
from provision.payload.units import render

_ROOT = Path(__file__).resolve().parents[4]
_PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
from kube.component import openfiles
openfiles.raise_limit()
print(openfiles.INHERITED, resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_becomes_the_hard_one_and_the_inherited_is_known() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=_ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "(256, 512) (512, 512)", done.stderr


def test_connections_leave_room_for_the_components_own_files() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limit // 2 <= affordable_connections() < limit


def test_every_unit_says_how_many_files_it_may_open() -> None:
    unit = Unit(name="a", description="a", command=("/bin/a",), python=False)
    assert "\nLimitNOFILE=65536\n" in render(unit)
