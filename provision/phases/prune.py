"""`muster prune`: what this host runs and no lab owns.

A lab is owned while the state directory it was made from has its record. A directory that was
deleted by hand leaves machines that no other command can name; a damaged record, ones that no
other command dares to touch.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from provision import kubeconfig
from provision.errors import KubeconfigProblem, ProvisionError
from provision.monitoring import server
from provision.phases.report import Phases, Reporter
from provision.providers import PROVIDERS, declared
from provision.providers.base import Progress
from provision.state import Store


@dataclass(frozen=True, slots=True)
class Stray:
    lab: str
    provider: str
    state_dir: Path | None  # where it was made from, if that is known
    why: str
    remove: Callable[[str, Path | None, Progress], Awaitable[None]]


def strays(store: Store) -> list[Stray]:
    found = []
    for name in PROVIDERS:
        if (known := declared(name).strays) is None:
            continue
        for lab, state_dir in known.present(store.root).items():
            if why := _unowned(store, lab, state_dir):
                found.append(Stray(lab, name, state_dir, why, known.remove))
    return found


def _unowned(store: Store, lab: str, state_dir: Path | None) -> str:
    """Why nobody owns it; empty where somebody does."""
    home = Store(state_dir.parent) if state_dir is not None else store
    directory = home.directory(lab).path
    try:
        return "" if home.find(lab) is not None else f"{directory} has no record of it"
    except ProvisionError as error:
        return error.message


async def prune(store: Store, chosen: list[Stray], reporter: Reporter) -> None:
    """Remove them, and what is left of their state directories."""
    for stray in chosen:
        home = Store(stray.state_dir.parent) if stray.state_dir is not None else store
        with home.locked(stray.lab), Phases(reporter).phase(f"prune {stray.lab}") as step:
            await asyncio.to_thread(server.stop, home.directory(stray.lab), kill=True)
            await stray.remove(stray.lab, stray.state_dir, step.say)
            try:
                kubeconfig.uninstall(stray.lab, os.environ)
            except KubeconfigProblem as problem:
                reporter.note(f"context not removed: {problem}")
            home.remove(stray.lab)
