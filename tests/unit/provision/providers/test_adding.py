"""A provider is a package and a line in a list: this one makes machines of paper."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

# provision/providers/paper/declaration.py
DECLARATION = '''
"""Machines of paper."""

from typing import Annotated

from msgspec import Meta

from provision.providers.base import Problem, ProviderError
from provision.providers.declaration import Declaration, MachineLimits, ProviderOptions, Remark


class PaperOptions(ProviderOptions, frozen=True):
    """Machines as drawings."""

    sheets: Annotated[int, Meta(ge=1, description="So many.")] = 3

    def limits(self):
        return MachineLimits(pids=self.sheets)


class PaperProvider:
    name = "paper"
    fabric = None
    disks = None

    async def check(self, lab):
        return []

    async def states(self, lab):
        return {}

    async def create(self, lab, progress=None, *, retain=False):
        (worker,) = [m for m in lab.machines if m.role == "worker"]
        raise ProviderError(f"{worker.name} burnt: {lab.options} {worker.pids}", "use stone")

    async def destroy(self, lab, progress=None):
        pass


DECLARATION = Declaration(
    "paper", PaperOptions, PaperProvider, on_this_host=True,
    remarks=lambda: [Remark("paper burns", "keep it from fire", note=True)],
)
'''
# The line, and `muster`.
RUN = """
import sys
from provision import providers
providers.__path__.append(sys.argv.pop(1))
providers.PROVIDERS.append("paper")
"""
MUSTER = """
from muster.main import main
sys.exit(main())
"""
# What `muster up` does, without a bundle of code for machines that never come to be.
CREATE = """
import asyncio
from pathlib import Path
from provision.identities import allocate
from provision.labfile import load_lab
from provision.providers.base import ProviderError
from provision.ssh.keys import ensure_key
from provision.state import Store, lab_spec
record = allocate(load_lab(Path(sys.argv[1])), {})
directory = Store().directory(record.name)
ensure_key(directory.ssh_key, "key")
try:
    asyncio.run(providers.provider("paper").create(lab_spec(record, directory)))
except ProviderError as error:
    print(error)
"""
LAB = """
apiVersion: muster/v1
kind: Lab
metadata: {name: sketch}
spec: {provider: paper, workers: 1, paper: {sheets: %s}}
"""


def _muster(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return _run(tmp_path, MUSTER, *args)


def _run(tmp_path: Path, what: str, *args: str) -> subprocess.CompletedProcess[str]:
    package = tmp_path / "paper"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text('"""Machines of paper."""')
    (package / "declaration.py").write_text(DECLARATION)
    return subprocess.run(
        [sys.executable, "-c", RUN + what, str(tmp_path), *args],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"MUSTER_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "200"},
    )  # fmt: skip


def test_the_command_line_and_the_doctor_know_it(tmp_path: Path) -> None:
    done = _muster(tmp_path, "doctor", "--provider", "paper")
    assert "everything that the paper provider needs" in done.stdout, done.stderr
    assert "paper burns" in done.stdout
    assert "paper" in _muster(tmp_path, "up", "--help").stdout


def test_its_stanza_is_checked(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB % "none")
    done = _muster(tmp_path, "up", "-f", str(tmp_path / "lab.yaml"))
    assert done.returncode == 2, done.stderr
    assert "spec.paper.sheets" in done.stderr


def test_it_is_asked_for_machines_and_told_its_options(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB % 7)
    done = _run(tmp_path, CREATE, str(tmp_path / "lab.yaml"))
    assert done.stdout == "w1 burnt: {'sheets': 7} 7; use stone\n", done.stderr
