"""Gives both stores the same steps and compares what they say; shortens what differs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from kube.stubs.etcd import rpc_pb2
from tests.component.pki_fixture import Pki
from tests.differential.hunt import normal
from tests.differential.hunt.known import known
from tests.differential.hunt.side import Side, started
from tests.differential.hunt.steps import Asked, Call, Close, Step, Watch

_KINDS = ("ours", "theirs")
_SYNC_SECONDS = 0.25  # etcd looks for watches that are behind ten times a second
_ANSWER_SECONDS = 3.0
_EVEN_SECONDS = 30.0  # until both have said the same: one may be the slower one for long
_PROGRESS = rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())


@dataclass
class Difference:
    number: int
    step: Step | None  # None: found at the end
    ours: str
    theirs: str


@dataclass
class Tally:
    sequences: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)


class Comparison:
    def __init__(self, ours: Side, theirs: Side, tally: Tally) -> None:
        self.sides = ours, theirs
        self._tally = tally
        self._pending = False  # events may be on their way

    def run(self, steps: Sequence[Step]) -> Difference | None:
        for number, step in enumerate(steps):
            found = self._step(step)
            if found:
                return Difference(number, step, *found)
        found = self._end()
        return Difference(len(steps), None, *found) if found else None

    def _step(self, step: Step) -> tuple[str, str] | None:
        if isinstance(step, Call):
            return self._call(step)
        return self._watch(step)

    def _call(self, step: Call) -> tuple[str, str] | None:
        waiting = [side.ask(step) for side in self.sides]
        outcomes = [wait() for wait in waiting]
        self._tally.steps[step.path] += 1
        self._tally.codes[outcomes[1].code] += 1
        for side, outcome in zip(self.sides, outcomes, strict=True):
            if not side.alive():
                return tuple("alive" if one.alive() else "died" for one in self.sides)
            side.remember(step, outcome)
        ours, theirs = (
            normal.shown(side, step.path, outcome)
            for side, outcome in zip(self.sides, outcomes, strict=True)
        )
        if ours != theirs:
            reason = known(step, ours, theirs)
            if reason is None:
                return ours, theirs
            self._tally.known[reason] += 1
        if step.path.startswith(_WRITERS):
            self._pending = True
            self._learn_revision()
            if len(self.sides[0].cluster.members) > 1:
                self._wait_applied()
            if step.path == "KV/Compact" and outcomes[0].code == "OK":
                request = rpc_pb2.CompactionRequest.FromString(
                    self.sides[0].names.bodies(step.bodies)[0]
                )
                for side in self.sides:
                    side.names.compacted = request.revision
        return None

    def _learn_revision(self) -> None:
        """Ours says it for both: a difference between them shows in the answers."""
        for side in self.sides:
            side.names.now = revision(self.sides[0])

    def _wait_applied(self) -> None:
        """All members have applied what was written: whom one asks next does not matter."""
        for side in self.sides:
            _until(lambda side=side: len({*positions(side)}) == 1, _EVEN_SECONDS)

    # --- watches

    def _watch(self, step: Watch | Close) -> tuple[str, str] | None:
        if self._pending and (found := self._settle(0)):
            return found
        self._tally.steps["Watch/Watch"] += 1
        stream = self.sides[0].streams.get(step.stream)
        if stream is not None and stream.closed:
            return None  # nothing more can be said on it
        if isinstance(step, Close):
            for side in self.sides:
                if step.stream in side.streams:
                    side.streams[step.stream].half_close()
        else:
            for side in self.sides:
                side.watch(step)
                # Its answer comes after that to what was asked before.
                side.watch(Watch(step.stream, _PROGRESS, step.asked))
            for side in self.sides:
                stream = side.streams[step.stream]
                sent = stream.sent
                _until(lambda s=stream, n=sent: s.ended or s.progressed() >= n, _ANSWER_SECONDS)
        return self._settle(_SYNC_SECONDS)

    def _settle(self, seconds: float) -> tuple[str, str] | None:
        """All that the streams have to say is there, and the same."""
        self._pending = False
        time.sleep(seconds)
        _until(lambda: self._streams(0) == self._streams(1), _EVEN_SECONDS)
        ours, theirs = self._streams(0), self._streams(1)
        return None if ours == theirs else (ours, theirs)

    def _streams(self, side: int) -> str:
        streams = self.sides[side].streams
        return "\n".join(f"stream {n}: {normal.watched(streams[n])}" for n in sorted(streams))

    def _end(self) -> tuple[str, str] | None:
        if self.sides[0].streams:
            return self._settle(_SYNC_SECONDS)
        return None


_WRITERS = ("KV/Put", "KV/Delete", "KV/Txn", "KV/Compact", "Lease/", "Lock/", "Election/", "Auth/")


def revision(side: Side) -> int:
    """Told by whatever needs no permission."""
    status = side.message(Call("Maintenance/Status", (rpc_pb2.StatusRequest(),)))
    return int(status.header.revision)


def positions(side: Side) -> Iterator[int]:
    for number in range(len(side.cluster.members)):
        call = Call("Maintenance/Status", (rpc_pb2.StatusRequest(),), Asked(number))
        yield side.message(call).raftAppliedIndex


def _until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = 0.001
    while not condition() and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(0.05, pause * 2)


class Pairs:
    """Fresh clusters for each sequence, so that it can be repeated."""

    def __init__(self, directory: Path, members: int) -> None:
        self._directory = directory
        # Of their own: both issue certificates at the same time.
        self._pki = {kind: Pki.create(directory / f"{kind}-pki") for kind in _KINDS}
        self._members = members
        self._numbers = count()

    @contextmanager
    def fresh(self) -> Iterator[tuple[Side, Side]]:
        name = str(next(self._numbers))
        with TemporaryDirectory(dir=self._directory) as folder, ExitStack() as stack:
            contexts = [
                started(
                    Path(folder) / f"{kind}-{name}",
                    self._pki[kind],
                    self._members,
                    stock=kind == "theirs",
                )
                for kind in _KINDS
            ]
            with ThreadPoolExecutor(2) as pool:
                ours, theirs = pool.map(stack.enter_context, contexts)
            yield ours, theirs

    def run(self, steps: Sequence[Step], tally: Tally) -> Difference | None:
        with self.fresh() as (ours, theirs):
            return Comparison(ours, theirs, tally).run(steps)


def shrink(
    steps: Sequence[Step], differs: Callable[[Sequence[Step]], Difference | None], attempts: int
) -> list[Step]:
    """Fewer steps that still differ: halves, quarters, single ones are left out in turn."""
    kept = list(steps)
    size = max(1, len(kept) // 2)
    while attempts > 0:
        start, dropped = 0, False
        while start < len(kept) and attempts > 0:
            shorter = kept[:start] + kept[start + size :]
            attempts -= 1
            found = differs(shorter) if shorter else None
            if found:
                kept, dropped = shorter[: found.number + 1], True
            else:
                start += size
        if size == 1 and not dropped:
            break
        size = max(1, size // 2)
    return kept
