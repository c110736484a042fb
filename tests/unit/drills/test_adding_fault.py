"""A fault is a file and a line in a list: this one spills coffee."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# drills/faults/spill.py
SPILL = '''
"""Coffee is spilt."""

from typing import Annotated, ClassVar

from msgspec import Meta

from drills.faults.base import Fault, Needs


class Spill(Fault, frozen=True, kw_only=True, tag="spill"):
    """Coffee is spilt over the machine."""

    title: ClassVar[str] = "coffee spilt"
    needs: ClassVar[Needs] = Needs()

    cups: Annotated[int, Meta(ge=1, description="How many.")] = 1

    async def undo(self, scene):
        return ()

    async def inject(self, scene):
        await scene.lab.run_on(scene.victims[0], ("spill", str(self.cups)))
'''
# The line, and `muster`.
RUN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from drills import faults
from spill import Spill
faults.AnyFault |= Spill
faults.ALL += (Spill,)
from muster.main import main
sys.exit(main())
"""
DRILL = """
apiVersion: muster/v1
kind: Drill
metadata: {{name: wet, description: Spills coffee.}}
spec:
  faults:
    - {{fault: spill, target: {{role: worker}}, cups: {cups}}}
  recovery: {{phases: [fault, not_ready]}}
  levels:
    - {{metric: failed_requests, max: 0}}
"""


def _muster(tmp_path: Path, cups: str, *args: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "spill.py").write_text(SPILL)
    (tmp_path / "wet.yaml").write_text(DRILL.format(cups=cups))
    return subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), "drill", *args, str(tmp_path / "wet.yaml")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"MUSTER_STATE_DIR": str(tmp_path / "state")},
    )  # fmt: skip


def test_a_drill_may_ask_for_it(tmp_path: Path) -> None:
    done = _muster(tmp_path, "3", "validate")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "cups: 3" in _muster(tmp_path, "3", "show").stdout


def test_its_parameters_are_checked(tmp_path: Path) -> None:
    done = _muster(tmp_path, "none", "validate")
    assert done.returncode == 2
    assert "cups" in done.stderr
