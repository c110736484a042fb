"""`muster down`: every trace of a lab goes, whatever state it is in. Succeeds if there is none."""

from __future__ import annotations

import asyncio
import os

from provision import kubeconfig
from provision.ansible.run import end_leftover
from provision.errors import KubeconfigProblem
from provision.monitoring import server
from provision.phases.report import Phases, Reporter, Step
from provision.phases.session import Session
from provision.ssh.keys import ensure_key
from provision.state import Store


async def down(store: Store, name: str, reporter: Reporter) -> bool:
    """Remove the lab. False if there was none."""
    if store.find(name) is None and not store.directory(name).path.exists():
        return False
    with store.locked(name):
        if store.find(name) is None and _only_keys(store, name):
            store.remove(name)
            return True
        session = Session(store, store.get(name))
        # A lab whose making was cut off at the very start may lack its key.
        ensure_key(session.directory.ssh_key, f"muster-{name}")
        phases = Phases(reporter)
        with phases.phase("remove") as step:
            await remove_lab(session, step)
    return True


def _only_keys(store: Store, name: str) -> bool:
    """Whether an `up` was killed before it wrote the lab down: nothing is made before that."""
    return {entry.name for entry in store.directory(name).path.iterdir()} <= {"ssh"}


async def remove_lab(session: Session, step: Step) -> None:
    """Machines first: once the record is gone, nobody would know of them."""
    end_leftover(session.directory.run_note)
    await asyncio.to_thread(server.stop, session.directory, kill=True)
    await session.provider.destroy(session.spec, step.say)
    try:
        kubeconfig.uninstall(session.record.name, os.environ)
    except KubeconfigProblem as problem:
        step.reporter.note(f"context not removed: {problem}")
    session.store.remove(session.record.name)
