"""Run a drill: steady state, undo on disk, fault, recovery, return, judgement."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from muster.client.client import Client
from provision.drills import timeline
from provision.drills.journal import Journal, Undo, pending
from provision.drills.lab import DrillLab
from provision.drills.observe import Observer, Seen
from provision.drills.probe import Prober
from provision.drills.result import Result
from provision.drills.spec import Drill
from provision.drills.timeline import Case
from provision.drills.verdict import judge
from provision.drills.workload import (
    NothingRan,
    Workload,
    pods_by_node,
    wait_until_steady,
    workload,
)

Say = Callable[[str], None]
# How often the timeline is asked whether the recovery is complete.
CHECK_SECONDS = 0.25


async def run(drill: Drill, lab: DrillLab, *, node: str, service: str, say: Say) -> Result:
    """Run `drill` on a running lab. Raises NothingRan when it could not start.

    `node` and `service` choose the victim and the workload; "" leaves the choice to the drill.
    """
    if node:
        lab.spec.machine(node)  # raises for one that there is not
    _refuse_beside_another(lab)
    started = datetime.now(UTC)
    run_id = started.strftime("%Y%m%dT%H%M%SZ") + "-" + drill.metadata.name
    journal = Journal(lab.spec.state_dir / "drills" / run_id)
    async with (
        Client.connect(lab.api_servers, lab.admin_kubeconfig) as client,
        workload(client, service or drill.spec.workload) as found,
    ):
        say("checking the steady state")
        await wait_until_steady(client, found, drill.spec.steady_state.timeout_seconds, say)
        victim, pods = await _choose(client, found, lab, node)
        observer = Observer(lab, client, found)
        async with observer.watching() as seen:
            case = await _inject_and_follow(
                drill, lab, journal, found, seen, Case(victim, pods, _survivors(lab, victim), 0.0),
                say,
            )  # fmt: skip
    return _judged(drill, lab, run_id, started, case, seen)


def _refuse_beside_another(lab: DrillLab) -> None:
    for _, undo in pending(lab.spec.state_dir):
        raise NothingRan(
            f"another drill ({undo.drill}) has cut the power of {', '.join(undo.power_on)}",
            "wait until it is done; if it was killed, `muster drill heal` undoes it",
        )


def _judged(
    drill: Drill, lab: DrillLab, run_id: str, started: datetime, case: Case, seen: Seen
) -> Result:
    observations = seen.frozen()
    line = timeline.build(case, observations)
    verdict, findings = judge(drill.spec.levels, line.metrics, lab.profile)
    return Result(
        drill, lab.spec.name, lab.profile, run_id, started, case, observations, line, verdict,
        findings,
    )  # fmt: skip


async def _choose(
    client: Client, found: Workload, lab: DrillLab, node: str
) -> tuple[str, frozenset[str]]:
    """The victim and the uids of the workload's pods on it."""
    by_node = await pods_by_node(client, found)
    if node:
        if node not in by_node:
            raise NothingRan(
                f'node "{node}" runs no pod of "{found.namespace}/{found.service}"',
                f"its pods are on: {', '.join(sorted(by_node))}",
            )
        return node, frozenset(pod.metadata.uid for pod in by_node[node])
    workers = [m.name for m in lab.spec.machines if m.role == "worker" and m.name in by_node]
    if not workers or len([m for m in lab.spec.machines if m.role == "worker"]) < 2:
        raise NothingRan(
            "a node failure needs a second worker for the pods to move to",
            "make a lab with --workers 2 or more",
        )
    if len(by_node) == 1:  # as after an earlier drill: nothing moves pods back
        raise NothingRan(
            f'all pods of "{found.namespace}/{found.service}" are on {workers[0]}: no endpoint '
            "would be left to answer",
            "spread them first (`kubectl rollout restart`), or name the victim with --node",
        )
    victim = max(sorted(workers), key=lambda name: len(by_node[name]))
    return victim, frozenset(pod.metadata.uid for pod in by_node[victim])


def _survivors(lab: DrillLab, victim: str) -> tuple[str, ...]:
    return tuple(m.name for m in lab.spec.machines if m.name != victim)


async def _inject_and_follow(
    drill: Drill,
    lab: DrillLab,
    journal: Journal,
    found: Workload,
    seen: Seen,
    case: Case,
    say: Say,
) -> Case:
    """Good requests, undo, fault, recovery, power on, return; the machine is on afterwards."""
    async with _probing(drill, lab, found, case, seen):
        await _good_requests(drill, seen)
        limit = drill.spec.fault.limit_seconds.of(lab.profile)
        async with _undone_at_the_end(drill, lab, journal, case.victim, limit):
            say(f"cutting the power of {case.victim}")
            case = Case(case.victim, case.victim_pods, case.survivors, time.time())
            told: set[str] = set()
            await lab.provider.power_off(lab.spec, [case.victim])
            await _until(
                case, seen, "first_good_request",
                drill.spec.recovery.timeout_seconds.of(lab.profile), say, told,
            )  # fmt: skip
            await asyncio.sleep(drill.spec.recovery.settle_seconds)
            say(f"switching {case.victim} on again")
            case = Case(case.victim, case.victim_pods, case.survivors, case.fault_at, time.time())
            await lab.provider.start(lab.spec, [case.victim])
        await _until(
            case, seen, "old_pods_gone",
            drill.spec.recovery.timeout_seconds.of(lab.profile), say, told,
        )  # fmt: skip
    return case


@asynccontextmanager
async def _probing(
    drill: Drill, lab: DrillLab, found: Workload, case: Case, seen: Seen
) -> AsyncIterator[None]:
    prober = Prober(
        [(name, lab.address(name)) for name in case.survivors],
        found.node_port,
        per_second=drill.spec.probe.requests_per_second,
        timeout=drill.spec.probe.timeout_seconds,
        record=seen.requests.append,
    )
    task = asyncio.create_task(prober.run(), name="prober")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _good_requests(drill: Drill, seen: Seen) -> None:
    """The last part of the steady state: the Service answers, without a failure."""
    wanted = drill.spec.steady_state.good_requests
    try:
        async with asyncio.timeout(drill.spec.steady_state.timeout_seconds):
            while True:
                if len(seen.requests) >= wanted and all(r.ok for r in seen.requests[-wanted:]):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        last = next((r for r in reversed(seen.requests) if not r.ok), None)
        why = f": {last.answer} (asked {last.via})" if last else ""
        raise NothingRan(
            f"the service does not answer {wanted} requests in a row{why}",
            "see `kubectl get endpointslices` and `muster logs proxy`",
        ) from None


@asynccontextmanager
async def _undone_at_the_end(
    drill: Drill, lab: DrillLab, journal: Journal, victim: str, limit: float
) -> AsyncIterator[None]:
    """Write the undo and set the watchdog; afterwards the machine runs and the undo is gone."""
    deadline = time.time() + limit
    journal.write(
        Undo(drill=drill.metadata.name, lab=lab.spec.name, power_on=(victim,), deadline=deadline)
    )
    watchdog = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "provision.drills.watchdog", str(journal.folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C in the terminal must not reach it: it is there for when this process dies.
        start_new_session=True,
    )
    try:
        yield
    finally:
        await lab.provider.start(lab.spec, [victim])
        journal.clear()
        await watchdog.wait()


async def _until(
    case: Case, seen: Seen, key: str, timeout: float, say: Say, told: set[str]
) -> None:
    """Wait until the phase `key` was seen, at most `timeout`; tells each phase once."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while loop.time() < deadline:
        line = timeline.build(case, seen.frozen())
        for phase in line.phases:
            fresh = phase.seconds is not None and phase.key not in told
            if fresh and phase.seconds is not None and phase.seconds >= 0:
                told.add(phase.key)
                say(f"{phase.seconds:8.2f} s  {phase.title}")
        if line.seconds(key) is not None:
            return
        await asyncio.sleep(CHECK_SECONDS)
