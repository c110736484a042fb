"""Doing the same to several machines at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from provision.providers.base import ProviderError


async def together(*works: Coroutine[None, None, None]) -> None:
    """Do all at once. When one fails, the others are cancelled and its error stands for all."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except ExceptionGroup as group:
        error = group.exceptions[0]
        if isinstance(error, OSError):
            raise ProviderError(str(error), "is the disk full? see `df -h`") from group
        raise error from group
