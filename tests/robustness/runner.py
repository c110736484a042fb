"""One run: a cluster, clients at work, a fault, recovery, and what everybody saw."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from kube.rpc.errors import RpcError
from kube.stubs.etcd import rpc_pb2, rpc_pb2_grpc
from tests.robustness import failpoints
from tests.robustness.clients import (
    Clients,
    Compactor,
    KeyValueClient,
    LeaseClient,
)
from tests.robustness.cluster import Cluster, NotInTime, wait_for
from tests.robustness.history import Run, Watch, Write
from tests.robustness.network import Network
from tests.robustness.programs import Program
from tests.robustness.scenarios import FAULTS
from tests.robustness.watchers import Watcher
from tests.robustness.world import World

_KEY_VALUE_CLIENTS = 5
_LEASE_CLIENTS = 2
_WARM_UP_WRITES = 40
_AFTER_WRITES = 30
_RUN_SECONDS = 300.0


async def execute(
    scenario: str, members: int, seed: int, program: Program, network: Network, directory: Path
) -> tuple[Run, Cluster]:
    """The history of the run; a failure of the cluster to do its work is a problem in it."""
    run = Run(scenario, members, seed, program.name)
    rng = random.Random(f"{scenario}/{members}/{seed}")
    relayed = scenario in FAULTS and FAULTS[scenario].relayed
    cluster = Cluster(members, directory, network, program, rng, relayed=relayed)
    run.log = cluster.log
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            await _Execution(run, cluster, rng).execute()
    except* (NotInTime, TimeoutError) as failures:
        run.problems += [str(e) or "the run took too long" for e in failures.exceptions]
    except* Exception as failures:  # of the harness: the other runs go on
        run.problems += traceback.format_exception(failures)
    finally:
        await cluster.close()
    return run, cluster


class _Execution:
    def __init__(self, run: Run, cluster: Cluster, rng: random.Random) -> None:
        self._run = run
        self._cluster = cluster
        self._rng = rng
        self._clients = Clients(run, cluster.members)
        self._compactor = Compactor(self._clients, self._fork("compactor"))
        self._watchers = list(self._make_watchers())

    def _fork(self, name: str) -> random.Random:
        return random.Random(f"{self._rng.random()} {name}")

    def _make_watchers(self) -> Iterator[Watcher]:
        make = self._watcher
        yield make(self._run.recorder, start=1, patience=1.5)
        yield make(Watch("roaming", "r/", prev_kv=True), start=1, patience=2.0, restless=True)
        yield make(Watch("patient", "", prev_kv=True), start=0, patience=30.0)
        yield make(Watch("leases", "l/"), start=1, patience=2.0, restless=True)
        yield make(Watch("puts", "r/", deletes=False), start=0, patience=3.0, restless=True)
        yield make(Watch("deletes", "", puts=False), start=0, patience=3.0, restless=True)

    def _watcher(
        self, watch: Watch, *, start: int, patience: float, restless: bool = False
    ) -> Watcher:
        if watch is not self._run.recorder:
            self._run.watches.append(watch)
        return Watcher(
            watch, self._clients, self._fork(watch.name),
            start=start, patience_seconds=patience, restless=restless,
        )  # fmt: skip

    async def execute(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            working: list[asyncio.Task[None]] = []
            watching: list[asyncio.Task[None]] = []
            try:
                strike, armed = await self._start()
                watching += [tasks.create_task(w.work(), name=w.watch.name) for w in self._watchers]
                working += [tasks.create_task(work()) for work in self._work()]
                await self._hurt(strike, armed)
                await self._recover([*working, *watching])
                self._clients.stopping.set()
                await asyncio.wait(working)
                await self._settle()
            finally:
                for task in [*working, *watching]:
                    task.cancel()

    async def _start(self) -> tuple[failpoints.Strike | None, dict[Any, str]]:
        run, cluster = self._run, self._cluster
        strike, armed = None, {}
        if run.scenario.startswith(failpoints.PREFIX):
            strike = failpoints.strike_of(run.scenario, run.members, run.seed)
            armed = failpoints.armed_at_start(strike, cluster.members, self._rng)
            cluster.note(f"armed {[(m.name, spec) for m, spec in armed.items()]}")
        else:
            fault = FAULTS[run.scenario]
            if fault.small_disk:
                cluster.give_small_disk(cluster.members[0])
            if fault.failpoint and cluster.program.ours:
                slow = cluster.members[1:] or cluster.members
                armed = dict.fromkeys(slow, fault.failpoint)
        await cluster.start(armed)
        cluster.note("serving")
        return strike, armed

    def _work(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        clients = self._clients
        work: list[Any] = [
            KeyValueClient(clients, f"c{n}", self._fork(f"c{n}")).work
            for n in range(_KEY_VALUE_CLIENTS)
        ]
        work += [
            LeaseClient(clients, f"h{n}", self._fork(f"h{n}")).work for n in range(_LEASE_CLIENTS)
        ]
        return [*work, self._compactor.work]

    async def _hurt(self, strike: failpoints.Strike | None, armed: dict[Any, str]) -> None:
        world = World(self._cluster, self._clients, self._compactor, self._rng)
        if strike is not None:
            await failpoints.act(world, strike, armed)
        else:
            await world.writes(_WARM_UP_WRITES)
            await FAULTS[self._run.scenario].act(world)

    async def _recover(self, tasks: list[asyncio.Task[None]]) -> None:
        self._cluster.note("heal")
        await self._cluster.heal()
        self._cluster.note("healed")
        goal = self._clients.acknowledged + _AFTER_WRITES
        await wait_for(lambda: self._clients.acknowledged >= goal, 60, "writes after recovery")
        for task in tasks:
            if task.done():
                self._run.problems.append(f"{task.get_name()} gave up")

    # --- the end: everything that was promised must have come

    async def _settle(self) -> None:
        self._cluster.note("clients stopped")
        await wait_for(lambda: not self._leased(), 40, "abandoned leases to end")
        await self._mark()
        last = self._run.final_revision
        try:
            await wait_for(lambda: all(w.next > last for w in self._watchers), 60, "the watchers")
        finally:
            positions = [(watcher.watch.name, watcher.next) for watcher in self._watchers]
            self._cluster.note(f"watchers are at {positions} of {last}")
        await self._agree(last)
        await self._read_again()

    def _leased(self) -> set[str]:
        """Keys of leases that are there, as the recorder was told."""
        keys: set[str] = set()
        for session in self._run.recorder.sessions:
            for response in session.responses:
                for event in response.events:
                    if event.key.startswith("l/"):
                        (keys.discard if event.value is None else keys.add)(event.key)
        return keys

    async def _mark(self) -> None:
        """Something for every watcher to see: a put and then a delete under each prefix."""
        keys, attempts = ("r/end", "l/end"), count(1)

        async def put() -> int:
            number = next(attempts)
            return await self._done([Write(key, f"end.{number}.{key}") for key in keys])

        async def delete() -> int:
            return await self._done([Write(key, None) for key in keys])

        self._run.final_revision = await wait_for(put, 40, "the last put")
        await wait_for(delete, 40, "the last delete")

    async def _done(self, writes: list[Write]) -> int:
        member = self._rng.choice(self._cluster.members)
        op = self._clients.operation("txn", member, writes=writes)
        await self._clients.do(op, member)
        return op.revision if op.answered else 0

    async def _agree(self, revision: int) -> None:
        """All members hold the same at one revision."""
        seen: dict[str, Any] = {}

        async def same() -> bool:
            for member in self._cluster.members:
                stub: Any = rpc_pb2_grpc.MaintenanceStub(member.channel)
                request = rpc_pb2.HashKVRequest(revision=revision)
                try:
                    answer = await stub.HashKV(request, timeout=2)
                    seen[member.name] = (answer.hash, answer.compact_revision)
                except RpcError as error:
                    seen[member.name] = error.message
            return len(set(seen.values())) == 1 and isinstance(next(iter(seen.values())), tuple)

        try:
            await wait_for(same, 40, "the members to agree")
        except NotInTime:
            self._run.problems.append(f"members differ at revision {revision}: {seen}")

    async def _read_again(self) -> None:
        """Each member's own history of what is not compacted must be the recorder's, too."""
        compacted = max((op.target for op in self._run.ops if op.kind == "compact"), default=0)
        readers = []
        for member in self._cluster.members:
            watch = Watch(f"again at {member.name}", "", prev_kv=True)
            self._run.watches.append(watch)
            reader = Watcher(
                watch, Clients(self._run, [member]), self._fork(watch.name),
                start=compacted + 1, patience_seconds=5.0,
            )  # fmt: skip
            readers.append((reader, asyncio.create_task(reader.work(), name=watch.name)))
        last = self._run.final_revision
        try:
            await wait_for(lambda: all(r.next > last for r, _ in readers), 60, "the histories")
        finally:
            for _, task in readers:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
