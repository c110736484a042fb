"""Injects faults and takes them back; whatever happens to the drill, they end.

The order that makes it so: the watchdog lives, the undo is on disk, the fault acts.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from drills.base import of
from drills.errors import FaultFailed
from drills.faults.base import Fault, Scene
from drills.heal import undo_all
from drills.journal import Journal, Undo
from drills.watchdog import READY

# Told at each step of a fault's life; tests kill the process in it.
OnStep = Callable[[str], None]


def _nothing(_step: str) -> None:
    pass


class Injector:
    """The faults of one run. As a context: afterwards nothing of them is left."""

    def __init__(self, drill: str, journal: Journal, on_step: OnStep = _nothing) -> None:
        self._drill = drill
        self._journal = journal
        self._on_step = on_step
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._live: dict[str, tuple[Scene, Undo]] = {}

    @property
    def live(self) -> tuple[str, ...]:
        """The faults that are injected and not yet taken back, the latest last."""
        return tuple(self._live)

    def faults(self) -> list[str]:
        """The same, in words."""
        return [undo.fault for _, undo in self._live.values()]

    async def __aenter__(self) -> Self:
        self._journal.folder.mkdir(parents=True, exist_ok=True)
        # Not asyncio's: that would kill it together with the loop.
        self._watchdog = subprocess.Popen(  # noqa: ASYNC220 - it outlives the loop
            [sys.executable, "-m", "drills.watchdog", str(self._journal.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in the terminal must not reach it: it is there for when this process dies.
            start_new_session=True,
        )
        assert self._watchdog.stdout is not None
        ready = await asyncio.to_thread(self._watchdog.stdout.readline)
        self._watchdog.stdout.close()
        if ready != READY:
            raise FaultFailed("the watchdog of drills does not start", "see `muster doctor`")
        self._on_step("watched")
        return self

    async def inject(self, key: str, fault: Fault, scene: Scene) -> None:
        """Break something, after its undo is on disk."""
        undo = Undo(
            drill=self._drill,
            lab=scene.lab.spec.name,
            key=key,
            fault=fault.words(scene),
            steps=await fault.undo(scene),
            deadline=time.time() + of(fault.limit_seconds, scene.lab.profile),
        )
        self._live[key] = (scene, undo)
        self._journal.write(undo)
        self._journal.note("drill", "written", key, "; ".join(map(str, undo.steps)))
        self._on_step("written")
        await fault.inject(scene)
        self._journal.note("drill", "injected", key, undo.fault)
        self._on_step("injected")

    async def heal(self, key: str) -> list[str]:
        """Take one fault back; nothing to do when it has been."""
        if key not in self._live:
            return []
        scene, undo = self._live[key]
        self._on_step("healing")
        done = await undo_all(scene.lab, [(self._journal, undo)], "drill")
        del self._live[key]
        self._on_step("healed")
        return done

    async def heal_all(self) -> list[str]:
        """The latest fault first."""
        if not self._live:
            return []
        lab = next(iter(self._live.values()))[0].lab
        left = [(self._journal, undo) for _, undo in reversed(self._live.values())]
        self._on_step("healing")
        done = await undo_all(lab, left, "drill")
        self._live.clear()
        self._on_step("healed")
        return done

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.heal_all()
        finally:
            assert self._watchdog is not None and self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            if not self._live:
                # Else it goes on where this process gave up, and outlives it.
                await asyncio.to_thread(self._watchdog.wait)
