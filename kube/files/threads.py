"""A few threads for file access whose cost somebody hostile may decide, off every event loop.

asyncio's own threads are shared by all (names are looked up there): what could keep them all busy
would stop everything. Here each kind of work has its own, and long work comes in slices, so that
whoever waits gets his turn after a slice of each of the others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from kube.files import trees
from kube.files.beneath import directory

P = ParamSpec("P")
T = TypeVar("T")


class FileThreads:
    def __init__(self, name: str, number: int) -> None:
        self._executor = ThreadPoolExecutor(number, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))

    async def remove_tree(self, path: Path) -> None:
        """Remove a tree, a slice at a time. What is gone already is fine."""
        while not await self.run(_remove_slice, path):
            pass


def _remove_slice(path: Path) -> bool:
    if not os.path.lexists(path):
        return True
    with directory(path.parent) as parent:
        return trees.remove_some(parent, path.name)
