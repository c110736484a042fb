"""The observers. One file each; this list names them, and phases say which of them they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from drills.observers import (
    components,
    endpoints,
    leaders,
    leases,
    nodes,
    pods,
    rules,
    store,
)
from drills.observers.base import Scope, log

ALL: Mapping[str, Callable[[Scope], Awaitable[None]]] = MappingProxyType(
    {
        "nodes": nodes.watch,
        "leases": leases.watch,
        "pods": pods.watch,
        "endpoints": endpoints.watch,
        "rules": rules.watch,
        "store": store.watch,
        "leaders": leaders.watch,
        "components": components.watch,
    }
)
# Figures are made of these in every drill.
ALWAYS = ("nodes", "pods", "endpoints", "rules")


@asynccontextmanager
async def watching(scope: Scope, names: Collection[str]) -> AsyncIterator[None]:
    """Let the observers of these names watch while the block runs."""
    tasks = [asyncio.ensure_future(ALL[name](scope)) for name in sorted({*names, *ALWAYS})]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                log.error("observer failed", error=repr(ended))


__all__ = ["ALL", "Scope", "watching"]
