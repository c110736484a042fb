"""The OCI runtime (crun or runc) as a few calls. Its state lives in an own directory.

`create` is not here: conmon runs it, so that conmon becomes the container's parent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.runtime import commands
from worker.runtime.errors import NotFound, RuntimeFailure

TIMEOUT_SECONDS = 60


class OciRuntime:
    def __init__(self, binary: str, state_dir: Path) -> None:
        self.binary = binary
        self.state_dir = state_dir

    @property
    def global_args(self) -> list[str]:
        """Arguments that stand before the verb, also when conmon calls the runtime."""
        return [f"--root={self.state_dir}"]

    def command(self, *args: str) -> list[str]:
        return [self.binary, *self.global_args, *args]

    async def start(self, container_id: str) -> None:
        await self._run("start", container_id)

    async def kill(self, container_id: str, signal: str, *, everyone: bool = False) -> None:
        """Signal the container; one that has ended already is no failure."""
        flags = ["--all"] if everyone else []
        done = await commands.run(
            self.command("kill", *flags, container_id, signal), timeout=TIMEOUT_SECONDS
        )
        if done.code != 0 and await self.status(container_id) == "running":
            raise RuntimeFailure(f"kill {container_id} with {signal}: {done.reason()}")

    async def delete(self, container_id: str) -> None:
        """Remove the container and kill what is left of it; gone already is fine."""
        done = await commands.run(
            self.command("delete", "--force", container_id), timeout=TIMEOUT_SECONDS
        )
        if done.code != 0 and (self.state_dir / container_id).exists():
            raise RuntimeFailure(f"delete {container_id}: {done.reason()}")

    async def status(self, container_id: str) -> str:
        """created, running, stopped or paused; "" when the runtime does not know it."""
        state = await self.state(container_id)
        return str(state.get("status", ""))

    async def state(self, container_id: str) -> dict[str, Any]:
        done = await commands.run(self.command("state", container_id), timeout=TIMEOUT_SECONDS)
        if done.code != 0:
            return {}
        state = json.loads(done.stdout)
        return state if isinstance(state, dict) else {}

    async def update(self, container_id: str, resources: Path) -> None:
        await self._run("update", f"--resources={resources}", container_id)

    def exec_command(
        self, container_id: str, process: Path, pid_file: Path, extra: Sequence[str] = ()
    ) -> list[str]:
        return self.command(
            "exec", f"--process={process}", f"--pid-file={pid_file}", *extra, container_id
        )

    async def version(self) -> str:
        done = await commands.run([self.binary, "--version"], timeout=TIMEOUT_SECONDS)
        return done.stdout.decode(errors="replace").partition("\n")[0]

    async def _run(self, verb: str, *args: str) -> None:
        done = await commands.run(self.command(verb, *args), timeout=TIMEOUT_SECONDS)
        if done.code != 0:
            if "does not exist" in done.reason():
                raise NotFound(f"{verb} {args[-1]}: {done.reason()}")
            raise RuntimeFailure(f"{verb} {args[-1]}: {done.reason()}")
