"""What an observer is: a coroutine that notes what it sees, until it is cancelled.

Every event is stamped when it reaches this host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from drills.events import Seen
from drills.faults.base import Workload
from drills.lab import DrillLab
from kube.client.client import Client
from kube.component.log import get_logger
from kube.machinery.errors import StatusError
from kube.machinery.scheme import ApiObject

log = get_logger(__name__)
T = TypeVar("T", bound=ApiObject)
# Takes an object and whether it is gone.
Note = Callable[[T, bool], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """What observers look at, and where they note it."""

    lab: DrillLab
    client: Client
    workload: Workload
    components: tuple[tuple[str, str], ...]  # (machine, component) that faults hit
    seen: Seen


async def follow(
    client: Client,
    type_: type[T],
    note: Note[T],
    namespace: str = "",
    label_selector: str = "",
) -> None:
    """List, then watch; again from the list whenever the watch ends."""
    while True:
        try:
            listing = await client.list(type_, namespace, label_selector)
            for obj in listing.items:
                note(obj, False)
            async for event in client.watch(
                type_, namespace, listing.resource_version, label_selector
            ):
                if event.type != "BOOKMARK":
                    note(event.object, event.type == "DELETED")
        except (StatusError, OSError) as error:
            log.debug("watch ended", kind=type_.__name__, error=str(error))
        await asyncio.sleep(0.1)
