"""One run of a drill, from its aim to its end: what is broken when, and what is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any

from drills import schedule, timeline
from drills.alerts import AlertSeen
from drills.api_load import ApiWriter
from drills.base import of
from drills.errors import NothingRan
from drills.events import Case, ProbeSeen, Request, Seen
from drills.faults import Fault, Scene, Workload
from drills.injection import Injector
from drills.journal import Journal
from drills.lab import DrillLab
from drills.load import Prober
from drills.logs import LogSeen
from drills.plan import Aim, PodsByNode, aim, check, check_tools, look
from drills.probes import unsteady
from drills.result import Result
from drills.spec import Abort, Drill
from drills.timeline import Timeline
from drills.verdict import Verdict, judge
from drills.workload import pods_by_node
from kube.client.client import Client

# How often the timeline is asked whether the recovery is complete.
CHECK_SECONDS = 0.25


class Aborted(Exception):
    """One of the drill's abort conditions holds."""


@dataclass(slots=True)
class Course:
    """The run. `seen` grows by observers, load and probes; `case` by what the drill does."""

    drill: Drill
    lab: DrillLab
    client: Client
    workload: Workload
    chance: Random
    node: str  # the victim that the user named, or ""
    say: Callable[[str], None]
    seen: Seen = field(default_factory=Seen)
    case: Case = field(default_factory=lambda: Case((), frozenset(), (), 0.0))
    broke: bool = False
    _aims: list[Aim] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    # -- before

    async def take_aim(self) -> None:
        """Choose the victims, and refuse what would take away too much."""
        pods = await pods_by_node(self.client, self.workload)
        view = await look(self.lab, self.client, pods)
        service = f"{self.workload.namespace}/{self.workload.service}"
        faults = self.drill.spec.faults
        _check_node(self.node, self.drill, pods, service)
        self._aims = [await aim(f, view, pods, self.chance, self.node) for f in faults]
        check(
            self.drill.spec.guard, list(zip(faults, self._aims, strict=True)), view, pods, service
        )
        for fault, at in zip(faults, self._aims, strict=True):
            fault.refuse(self._scene("", at))
            await check_tools(fault, self.lab, at.victims)
            self.case = self._with(fault, at)

    def _scene(self, key: str, at: Aim) -> Scene:
        return Scene(self.lab, key, at.victims, at.others, at.pods, self.chance)

    def _with(self, fault: Fault, at: Aim) -> Case:
        """The case with these victims besides those it has."""
        hit = [(name, component) for name in at.victims for component in fault.components()]
        together = tuple(dict.fromkeys((*self.case.victims, *at.victims)))
        return replace(
            self.case,
            victims=together,
            victim_pods=self.case.victim_pods | {pod.uid for pod in at.pods},
            survivors=tuple(m.name for m in self.lab.spec.machines if m.name not in together),
            components=tuple(dict.fromkeys((*self.case.components, *hit))),
        )

    def watched_components(self) -> tuple[tuple[str, str], ...]:
        """(machine, component) of whatever a fault may hit."""
        machines = [m.name for m in self.lab.spec.machines]
        return tuple(
            (name, component)
            for fault, at in zip(self.drill.spec.faults, self._aims, strict=True)
            for name in (machines if fault.repeat > 1 else at.victims)
            for component in fault.components()
        )

    def clients(self) -> list[Coroutine[Any, Any, None]]:
        """The load, each client to be run until it is cancelled."""
        load = self.drill.spec.load
        # The door of a machine that is gone is no measure; when all are, every door is asked.
        pairs = zip(self.drill.spec.faults, self._aims, strict=True)
        gone = {name for fault, at in pairs if fault.takes_machines for name in at.victims}
        machines = [m.name for m in self.lab.spec.machines]
        doors = [name for name in machines if name not in gone] or machines
        prober = Prober(
            [(name, self.lab.address(name)) for name in doors],
            self.workload.node_port,
            per_second=load.requests_per_second,
            timeout=load.timeout_seconds,
            record=self.seen.note,
        )
        works = [prober.run()]
        if load.api_writes_per_second:
            writer = ApiWriter(
                self.lab.admin_kubeconfig,
                self.workload.namespace,
                per_second=load.api_writes_per_second,
                timeout=load.timeout_seconds,
                record=self.seen.note,
            )
            works.append(writer.run())
        return works

    async def good_requests(self) -> None:
        """The last part of the steady state: the Service answers, without a failure."""
        steady = self.drill.spec.steady_state
        try:
            async with asyncio.timeout(steady.timeout_seconds):
                while True:
                    latest = self.seen.of(Request)[-steady.good_requests :]
                    if len(latest) >= steady.good_requests and all(r.ok for r in latest):
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            last = next((r for r in reversed(self.seen.of(Request)) if not r.ok), None)
            why = f": {last.answer} (asked {last.via})" if last else ""
            raise NothingRan(
                f"the service does not answer {steady.good_requests} requests in a row{why}",
                "see `kubectl get endpointslices` and `muster logs proxy`",
            ) from None

    # -- the fault, and what comes of it

    async def go(self, journal: Journal) -> str:
        """Break, follow, heal, follow. Why the lab is not as it was; "" when it is.

        Whatever happens, nothing of the faults is left afterwards. Raises Aborted.
        """
        spec, profile = self.drill.spec, self.lab.profile
        injector = Injector(self.drill.metadata.name, journal, self._step)
        async with injector:
            acting = asyncio.create_task(
                schedule.run(spec.faults, spec.order, profile, injector, self._injecting(injector),
                             self.chance),
                name="faults",
            )  # fmt: skip
            try:
                await self._until(spec.recovery.phases, of(spec.recovery.timeout_seconds, profile),
                                  acting)  # fmt: skip
                await self._settle(spec.recovery.settle_seconds)
            finally:
                acting.cancel()
                await asyncio.gather(acting, return_exceptions=True)
                if injector.live:
                    self.say(f"taking back: {', '.join(injector.faults())}")
        await self._until(spec.way_back.phases, of(spec.way_back.timeout_seconds, profile))
        await self._settle(spec.way_back.settle_seconds)
        steady = self.drill.spec.steady_state
        return await unsteady(steady.probes, self.lab, steady.timeout_seconds)

    def _injecting(self, injector: Injector) -> schedule.Inject:
        async def inject(index: int, round_: int, key: str) -> None:
            fault, at = self.drill.spec.faults[index], self._aims[index]
            if round_:  # who leads, or who is most loaded, may be another by now
                pods = await pods_by_node(self.client, self.workload)
                view = await look(self.lab, self.client, pods)
                at = await aim(fault, view, pods, self.chance, self.node)
                self.case = self._with(fault, at)
            scene = self._scene(key, at)
            self.say(fault.words(scene))
            if not self.broke:
                self.case = replace(self.case, fault_at=time.time(), fault=fault.title)
                self.broke = True
            await injector.inject(key, fault, scene)

        return inject

    def _step(self, step: str) -> None:
        if step == "healing":
            self.case = replace(self.case, healed_at=time.time())

    async def _until(
        self, keys: Sequence[str], timeout: float, acting: asyncio.Task[None] | None = None
    ) -> None:
        """Until these phases were seen, at most `timeout` after the faults have acted."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while loop.time() < deadline:
            if acting is not None and not acting.done():
                deadline = loop.time() + timeout
            elif acting is not None:
                acting.result()  # raises what kept a fault from acting
            line = self._tick()
            over = acting is None or acting.done()
            if line is not None and over and all(line.seconds(key) is not None for key in keys):
                return
            await asyncio.sleep(CHECK_SECONDS)

    async def _settle(self, seconds: float) -> None:
        """Go on under load, with an eye on the abort conditions."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            self._tick()
            await asyncio.sleep(min(left, CHECK_SECONDS))

    def _tick(self) -> Timeline | None:
        """Tell the phases that are new, once each; raise Aborted where the drill says so."""
        if not self.broke:
            return None
        line = self.line()
        for phase in line.phases:
            if phase.seconds is not None and phase.key not in self._told:
                self._told.add(phase.key)
                took = "" if phase.took is None else f"  (+{phase.took:.2f} s)"
                if phase.seconds >= 0:
                    self.say(f"{phase.seconds:8.2f} s  {phase.title}{took}")
        for condition in self.drill.spec.abort:
            if why := aborts(condition, line, self.seen, self.lab.profile):
                raise Aborted(why)
        return line

    # -- afterwards

    def line(self) -> Timeline:
        return timeline.build(self.case, self.seen.frozen(), self.drill.phases, self.drill.probes)

    def result(
        self, journal: Journal, started: datetime, why: str = "", cut: Verdict | None = None,
        alerts: tuple[AlertSeen, ...] = (), logs: tuple[LogSeen, ...] = (),
    ) -> Result:  # fmt: skip
        line = self.line()
        verdict, findings = judge(self.drill.spec.levels, line.metrics, self.lab.profile)
        if why and verdict is not Verdict.FAIL:
            verdict = Verdict.FAIL  # the lab is not as it was
        return Result(
            self.drill, self.lab.spec.name, self.lab.profile, journal.folder.name, started,
            self.case, self.seen.frozen(), line, cut or verdict, findings, journal.lines(), why,
            alerts, logs,
        )  # fmt: skip


def _check_node(node: str, drill: Drill, pods: PodsByNode, service: str) -> None:
    """A victim that the user names must run pods, where the drill is about the pods it takes."""
    wanted = any(fault.target.pick == "most-pods" for fault in drill.spec.faults)
    if node and wanted and node not in pods:
        raise NothingRan(
            f'node "{node}" runs no pod of "{service}"',
            f"its pods are on: {', '.join(sorted(pods))}",
        )


def aborts(condition: Abort, line: Timeline, seen: Seen, profile: str) -> str:
    """Why the drill must end now; "" when it need not. Pure."""
    if condition.metric and condition.max is not None:
        value, limit = line.metrics.get(condition.metric), of(condition.max, profile)
        if value is not None and value > limit:
            return f"{condition.metric} is {value:g}, over {limit:g}"
    if condition.probe:
        looks = [p for p in seen.of(ProbeSeen) if p.probe == condition.probe]
        latest = looks[-condition.failures :]
        if len(latest) == condition.failures and not any(p.ok for p in latest):
            return f'probe "{condition.probe}" failed {condition.failures} times: {latest[-1].why}'
    return ""
