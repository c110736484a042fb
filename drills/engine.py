"""Run a drill: steady state, faults with their undo on disk, recovery, the way back, judgement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random

from drills.alerts import seen_by
from drills.course import Aborted, Course
from drills.errors import NothingRan
from drills.faults import Workload
from drills.journal import Journal, pending
from drills.lab import DrillLab
from drills.logs import of_victims
from drills.observers import Scope, watching
from drills.phases import BY_KEY
from drills.plan import check_provider
from drills.probes import keep_looking, unsteady
from drills.result import Result
from drills.spec import Drill
from drills.verdict import Verdict
from drills.workload import wait_until_steady, workload
from kube.client.client import Client

Say = Callable[[str], None]
# Given every result, also of a drill that was cut short.
Conclude = Callable[[Result], None]


async def run(
    drill: Drill,
    lab: DrillLab,
    *,
    node: str = "",
    service: str = "",
    say: Say,
    conclude: Conclude,
    seed: int | None = None,
) -> Result:
    """Run `drill` on a running lab. Raises NothingRan when it could not start.

    `node` and `service` choose the victim and the workload; "" leaves the choice to the drill.
    """
    if node:
        lab.spec.machine(node)  # raises for one that there is not
    refuse(drill, lab)
    started = datetime.now(UTC)
    run_id = started.strftime("%Y%m%dT%H%M%SZ") + "-" + drill.metadata.name
    chance = Random(seed)  # noqa: S311 - to pick victims by
    async with (
        lab.client() as client,
        workload(client, service or drill.spec.workload) as found,
    ):
        say("checking the steady state")
        await _steady(drill, lab, client, found, say)
        course = Course(drill, lab, client, found, chance, node, say)
        await course.take_aim()
        async with _followed(course):
            await course.good_requests()
            journal = Journal(lab.spec.state_dir / "drills" / run_id)
            return await _judged(course, journal, started, conclude)


def refuse(drill: Drill, lab: DrillLab) -> None:
    """What speaks against this drill before the lab is looked at. Raises NothingRan."""
    for _, undo in pending(lab.spec.state_dir):
        raise NothingRan(
            f"another drill ({undo.drill}) is not over: {undo.fault}",
            "wait until it is done; if it was killed, `muster drill heal` undoes it",
        )
    if len(lab.masters()) < drill.spec.min_masters:
        raise NothingRan(
            f"this drill needs {drill.spec.min_masters} masters, the lab has {len(lab.masters())}",
            f"make one with `muster up --masters {drill.spec.min_masters} --name ...`",
        )
    for fault in drill.spec.faults:
        check_provider(fault, lab)


async def _steady(drill: Drill, lab: DrillLab, client: Client, found: Workload, say: Say) -> None:
    steady = drill.spec.steady_state
    await wait_until_steady(client, found, steady.timeout_seconds, say)
    if why := await unsteady(steady.probes, lab, steady.timeout_seconds):
        raise NothingRan(why, "a drill starts from a steady state only")


@asynccontextmanager
async def _followed(course: Course) -> AsyncIterator[None]:
    """Observers watch, load runs and probes look while the block runs."""
    needed = {name for key in course.drill.phases for name in BY_KEY[key].observers}
    scope = Scope(
        course.lab, course.client, course.workload, course.watched_components(), course.seen
    )
    works = [
        *course.clients(),
        *(keep_looking(p, course.lab, course.seen) for p in course.drill.spec.steady_state.probes),
    ]
    async with watching(scope, needed):
        tasks = [asyncio.create_task(work, name="drill") for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _judged(
    course: Course, journal: Journal, started: datetime, conclude: Conclude
) -> Result:
    """Go the course; there is a result of every drill that broke something."""
    why, cut = "", None
    try:
        why = await course.go(journal)
    except Aborted as error:
        why, cut = str(error), Verdict.ABORTED
    except BaseException as error:
        if course.broke:
            why = "by the user" if isinstance(error, asyncio.CancelledError) else str(error)
            conclude(course.result(journal, started, why, Verdict.INTERRUPTED))
        raise
    case, lab, now = course.case, course.lab, time.time()
    alerts, logs = await asyncio.gather(
        seen_by(lab.prometheus, case.fault_at, now),
        of_victims(lab, case.victims, case.fault_at, now),
    )
    result = course.result(journal, started, why, cut, alerts, logs)
    conclude(result)
    return result
