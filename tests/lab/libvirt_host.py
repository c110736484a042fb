"""A libvirt host of the tests' own, in namespaces: nothing of this machine's libvirt is touched."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.lab_driver import Done, LabDriver, eventually

_BOX = Path(__file__).with_name("vagrant_box")
_URI = "qemu:///system"


@dataclass(frozen=True)
class LibvirtHost:
    """Daemons, domains and networks live in the namespaces of one process, and end with it."""

    folder: Path
    outside: subprocess.Popen[bytes]
    init: int  # the pid, seen from outside, of the first process in there

    @classmethod
    def start(cls, folder: Path) -> LibvirtHost:
        with (folder / "host.log").open("wb") as log:
            outside = subprocess.Popen(
                ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                 str(_BOX / "host.sh"), str(folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
            init = int(eventually(lambda: children.read_text().split(), 10, "a first process")[0])
            host = cls(folder, outside, init)
            eventually(host.answers, 60, f"libvirtd answers; see {folder}/host.log")
        except BaseException:
            outside.kill()  # and by --kill-child all that it began
            outside.wait()
            raise
        return host

    def stop(self) -> None:
        """The kernel ends every process of a pid namespace with its first."""
        os.kill(self.init, signal.SIGKILL)
        self.outside.wait(timeout=30)

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--wd=.", *command]

    def run(self, *command: str, timeout: float = 120, env: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            self.inside(*command), capture_output=True, text=True, check=False, timeout=timeout,
            env=env,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def answers(self) -> bool:
        return self.run("virsh", "-c", _URI, "list").code == 0

    def names(self, *listing: str) -> list[str]:
        """What `virsh LISTING` names, such as `list --all --name`, in alphabetical order."""
        done = self.run("virsh", "-c", _URI, *listing)
        assert done.code == 0, done.err
        return sorted(done.out.split())

    def volumes(self) -> list[str]:
        listed = self.run("virsh", "-c", _URI, "vol-list", "default").out.splitlines()
        return [line.split()[0] for line in listed[2:] if line.strip()]


@dataclass(frozen=True)
class VagrantDriver(LabDriver):
    """Drives a lab from inside a libvirt host, which is the only place that reaches it."""

    host: LibvirtHost

    @property
    def env(self) -> dict[str, str]:
        return super().env | {
            "VAGRANT_HOME": str(self.host.folder / "vagrant"),
            "MUSTER_STATE_DIR": str(self.host.folder / "labs"),
        }

    def run(self, *command: str, timeout: float = 120, stdin: str | None = None) -> Done:
        return super().run(*self.host.inside(*command), timeout=timeout, stdin=stdin)
