"""How much disk the writable layers of containers take.

Measured when somebody asks, beside the event loop, at most so often; who asks gets what was
measured last. Nobody asks: nothing is measured.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from kube.component.log import get_logger
from kube.files.usage import used_bytes

log = get_logger(__name__)
FRESH_SECONDS = 10.0
MEASURE_SECONDS = 120.0
AT_ONCE = 4
# The longer one took, the longer until it is measured again: this many times as long.
REST = 3


@dataclass(frozen=True, slots=True)
class LayerUsage:
    bytes: int
    at: int  # nanoseconds since the epoch


class LayerUsages:
    def __init__(self) -> None:
        self._known: dict[str, LayerUsage] = {}
        self._due: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def ask(self, container_id: str, upper: Path) -> LayerUsage | None:
        """The last measure, if any; a new one is begun when that is old."""
        due = time.monotonic() >= self._due.get(container_id, 0.0)
        if due and container_id not in self._tasks:
            self._tasks[container_id] = asyncio.create_task(
                self._measure(container_id, upper), name=f"measure {container_id[:12]}"
            )
        return self._known.get(container_id)

    async def _measure(self, container_id: str, upper: Path) -> None:
        took = 0.0
        try:
            async with self._slots:
                began = time.monotonic()
                used = await used_bytes([upper], MEASURE_SECONDS)
                took = time.monotonic() - began
            if used is None:
                log.warning("layer takes too long to measure", container=container_id)
            elif upper in used:
                self._known[container_id] = LayerUsage(used[upper], time.time_ns())
        except OSError as error:
            log.warning("layer not measured", container=container_id, error=str(error))
        finally:
            self._due[container_id] = time.monotonic() + max(FRESH_SECONDS / 2, REST * took)
            self._tasks.pop(container_id, None)

    def forget(self, container_id: str) -> None:
        self._known.pop(container_id, None)
        self._due.pop(container_id, None)
        if (task := self._tasks.pop(container_id, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
