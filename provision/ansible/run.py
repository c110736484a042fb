"""Run the playbook by ansible-runner; events become progress lines and, at the end, a result."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.errors import RolesFailed
from provision.state import write_private

ROLES = Path(__file__).resolve().parents[1] / "roles"
Report = Callable[[str, str], None]
RUN_VARIABLE = "MUSTER_ANSIBLE_RUN"
DISK_IS_FULL = os.strerror(errno.ENOSPC)
_PREFIX = "muster-"
_LINES = 20  # of a failed task's output; tar alone can say one for each of thousands of files


@dataclass(slots=True)
class Outcome:
    """What the events said, per machine."""

    changed: dict[str, list[str]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any], report: Report) -> None:
        """Digest one event of ansible-runner's stream."""
        data = event.get("event_data", {})
        host, task = data.get("host", ""), data.get("task", "")
        kind, result = event.get("event", ""), data.get("res", {})
        if kind == "runner_on_ok" and result.get("changed"):
            words = _changes(result)
            self.changed.setdefault(host, []).append(words)
            report(host, words)
        elif kind in ("runner_on_failed", "runner_on_unreachable"):
            self.failures[host] = f"{task}: {reason(str(result.get('msg', result)))}"
            report(host, f"failed: {self.failures[host]}")


def reason(said: str) -> str:
    """What a person needs of what a task printed: a full disk by its name, else the end. Pure."""
    if DISK_IS_FULL in said:
        return f"its disk is full ({DISK_IS_FULL})"
    lines = said.strip().splitlines()
    return "\n".join(["...", *lines[-_LINES:]] if len(lines) > _LINES else lines)


def _changes(result: Mapping[str, Any]) -> str:
    if shipped := result.get("shipped"):
        return f"code shipped ({', '.join(shipped)})"
    if installed := result.get("installed"):
        return f"packages installed ({', '.join(installed)})"
    parts = [
        f"{len(result[key])} {word}"
        for key, word in (
            ("files", "files written"),
            ("removed", "files removed"),
            ("restarted", "units restarted"),
            ("started", "units started"),
        )
        if result.get(key)
    ]
    return ", ".join(parts) or "changed"


def run_roles(inventory: dict[str, Any], report: Report, directory: Path) -> Outcome:
    """All machines in parallel. Raises `RolesFailed` with each machine's reason.

    `directory` is a `run_directory`; ending its processes ends the run.
    """
    import ansible_runner  # a second to import, so only when roles run

    outcome = Outcome()

    def on_event(event: dict[str, Any]) -> bool:
        outcome.take(event, report)
        return False  # nobody reads the artifacts

    finished = ansible_runner.run(
        private_data_dir=str(directory),
        inventory=inventory,
        playbook=str(ROLES / "site.yml"),
        envvars=_environment(directory, len(inventory["all"]["hosts"])),
        event_handler=on_event,
        quiet=True,
        settings={"runner_mode": "subprocess", "suppress_env_files": True},
    )
    if finished.status != "successful":
        raise _failure(outcome, finished)
    return outcome


def _failure(outcome: Outcome, finished: Any) -> RolesFailed:
    if not outcome.failures:
        with contextlib.suppress(Exception):
            said = finished.stderr.read() or finished.stdout.read()
            return RolesFailed(f"ansible ended with {finished.status}: {said.strip()[-2000:]}")
        return RolesFailed(f"ansible ended with {finished.status}")
    lines = [f"{host}: {said}" for host, said in sorted(outcome.failures.items())]
    fix = "repeat `muster up`: what is done already is skipped"
    if any(DISK_IS_FULL in line for line in lines):
        fix = f"free some disk space there, then {fix}"
    return RolesFailed("\n".join(lines), fix)


@contextlib.contextmanager
def run_directory(note: Path) -> Iterator[Path]:
    """Where one run keeps its files; all that it started has ended when this closes.

    0700, and short: the control sockets in it must fit in 108 characters. Its path is written to
    `note`, so that whoever holds the lab next can end what a killed command left behind.
    """
    end_leftover(note)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        write_private(note, str(directory).encode())
        # Empty, in place of the user's own: only what we say here counts.
        (directory / "ansible.cfg").touch()
        yield directory
    finally:
        end_processes(directory)
        shutil.rmtree(directory, ignore_errors=True)
        note.unlink(missing_ok=True)


def end_leftover(note: Path) -> None:
    """End the run that `note` tells of, if one is left; its command was killed.

    Only for the holder of the lab's lock: a run that lives belongs to who holds it.
    """
    try:
        directory = Path(note.read_text())
    except FileNotFoundError:
        return
    if directory.name.startswith(_PREFIX):  # a damaged note must not cost somebody his files
        end_processes(directory)
        shutil.rmtree(directory, ignore_errors=True)
    note.unlink(missing_ok=True)


def end_processes(directory: Path) -> None:
    """End every process of the run in `directory`: ansible, its workers, and their ssh.

    Workers are sessions of their own and survive ansible's end; what all have in common is the
    variable that they inherited.
    """
    mark = f"{RUN_VARIABLE}={directory}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def _environment(directory: Path, machines: int) -> dict[str, str]:
    return {
        RUN_VARIABLE: str(directory),
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_ROLES_PATH": str(ROLES),
        "ANSIBLE_ACTION_PLUGINS": str(ROLES / "action_plugins"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORKS": str(machines),
        "ANSIBLE_STRATEGY": "free",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
        "ANSIBLE_SSH_ARGS": (
            "-o ControlMaster=auto -o ControlPersist=10s "
            "-o ServerAliveInterval=5 -o ServerAliveCountMax=6"
        ),
        # For sudo to answer, too: an emulated machine that starts its units may take long.
        "ANSIBLE_TIMEOUT": "60",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
