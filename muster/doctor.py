"""`muster doctor`: does this host have what a lab needs, and what is there to do if not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.markup import escape

from muster import output
from muster.console import stdout
from muster.session import exit_with, run
from provision.providers import PROVIDERS

FREE_MIB = 2048


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    ok: bool
    fix: str = ""
    needed: bool = True
    note: bool = False  # not about this host, but worth knowing before it is used

    @property
    def state(self) -> str:
        if self.note:
            return "note"
        return "ok" if self.ok else "missing" if self.needed else "absent"

    @property
    def advice(self) -> str:
        return self.fix if self.note or not self.ok else ""


_COLOURS = {"ok": "green", "missing": "red", "absent": "yellow", "note": "cyan"}
COLUMNS: tuple[output.Column, ...] = (
    ("STATE", lambda f: f["state"]),
    ("WHAT", lambda f: f["name"]),
    ("FIX", lambda f: f["fix"] or "-"),
)


@click.command()
@click.option("--provider", type=click.Choice(PROVIDERS), default=PROVIDERS[0], show_default=True)
@output.option
def doctor(provider: str, output: str) -> None:
    """Check this host. Exit code 5 when something needed is missing."""
    from muster.output import show
    from provision.errors import HostNotReady

    findings = [*_common(), *_of_provider(provider), *_strays()]
    if output == "table":
        _print(findings)
    else:
        rows = [{"name": f.what, "state": f.state, "fix": f.advice} for f in findings]
        show(output, rows, rows, COLUMNS)
    if any(not f.ok and f.needed for f in findings):
        exit_with(HostNotReady.exit_code)


def _print(findings: Sequence[Finding]) -> None:
    console = stdout()
    for found in findings:
        colour = _COLOURS[found.state]
        console.print(f"[{colour}]{found.state:<7}[/]  {escape(found.what)}")
        if found.advice:
            console.print(f"           {found.advice}", markup=False)


def _common() -> Iterator[Finding]:
    from provision.bundle.layer import MACHINE_PYTHON
    from provision.state import state_root

    yield Finding(
        "ansible-playbook beside muster",
        _ansible(),
        "pip install 'muster-lab[host]'",
    )
    yield Finding("ssh", shutil.which("ssh") is not None, "apt-get install openssh-client")
    yield Finding(f"{MACHINE_PYTHON}, 3.11 or newer", _python(MACHINE_PYTHON))
    root = state_root()
    yield Finding(f"{root} is writable", _writable(root), "run it as root, or set MUSTER_STATE_DIR")
    free = _free_mib(root)
    yield Finding(
        f"{FREE_MIB} MiB of disk for {root} ({free} free)", free >= FREE_MIB, "free some disk space"
    )
    yield Finding(
        "kubectl",
        shutil.which("kubectl") is not None,
        "any version from 1.28 on: https://kubernetes.io/docs/tasks/tools/",
        needed=False,
    )


def _ansible() -> bool:
    beside = Path(sys.executable).parent / "ansible-playbook"
    return beside.exists() or shutil.which("ansible-playbook") is not None


def _python(path: str) -> bool:
    script = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([path, "-I", "-c", script], check=False).returncode == 0
    except OSError:
        return False


def _writable(path: Path) -> bool:
    existing = next(p for p in (path, *path.parents) if p.exists())
    return os.access(existing, os.W_OK)


def _free_mib(path: Path) -> int:
    existing = next(p for p in (path, *path.parents) if p.exists())
    return shutil.disk_usage(existing).free >> 20


def _of_provider(name: str) -> Iterator[Finding]:
    """The provider's own check, for a lab that would be made now."""
    from provision.errors import HostNotReady
    from provision.identities import allocate
    from provision.labfile.spec import Lab, Metadata, Spec
    from provision.providers import declared, provider
    from provision.state import Store, unmade_spec

    store = Store()
    probe = Lab(
        api_version="muster/v1",
        kind="Lab",
        metadata=Metadata(name="doctor"),
        spec=Spec(provider=name),
    )
    try:
        record = allocate(probe, store.subnets())
    except HostNotReady as error:  # the labs of another user
        yield Finding(error.message, False, error.hint)
        return
    spec = unmade_spec(record, store.directory(record.name))
    problems = run(provider(name).check(spec))
    for problem in problems:
        yield Finding(problem.text, False, problem.fix)
    if not problems:
        yield Finding(f"everything that the {name} provider needs", True)
    for remark in declared(name).remarks():
        ok = remark.note or not remark.lacking
        yield Finding(remark.what, ok, remark.lacking, needed=False, note=remark.note)


def _strays() -> Iterator[Finding]:
    """Machines that still run, and that no command can name any more."""
    from provision.phases.prune import strays
    from provision.state import Store

    for stray in strays(Store()):
        yield Finding(
            f'no lab of which nobody knows: "{stray.lab}" ({stray.why})',
            False,
            "muster prune",
            needed=False,
        )
