"""What clients of a run saw, as plain values: written to a file, judged without a cluster.

Every write of a run has a value of its own, so an event of the history names the request that
made it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class Found(msgspec.Struct, frozen=True, array_like=True):
    """A key as an answer showed it."""

    key: str
    value: str
    mod: int
    lease: int = 0


class Write(msgspec.Struct, frozen=True, array_like=True):
    """`value` None deletes."""

    key: str
    value: str | None
    lease: int = 0


class Compare(msgspec.Struct, frozen=True, array_like=True):
    """The key's mod revision must be this; 0: there is no such key. `value` is what it had then."""

    key: str
    mod: int
    value: str | None = None


class Op(msgspec.Struct):
    """One request. A put is a transaction of one write, a read one without writes.

    `end` None: no answer, so nobody knows whether it happened. `refused`: the answer says that it
    did not. `incarnation` counts the starts of the member's process; -1: it changed meanwhile.
    """

    id: int
    kind: str  # get, stale, put, delete, txn, grant, renew, revoke, compact
    member: str
    call: float
    compares: list[Compare] = []
    writes: list[Write] = []
    reads: list[str] = []  # keys; a trailing "*" reads all that begin so
    lease: int = 0
    target: int = 0  # of a compaction: up to where
    end: float | None = None
    refused: str = ""
    incarnation: int = -1
    revision: int = 0
    succeeded: bool = True
    found: list[Found] = []
    previous: list[Found] = []
    deleted: int = 0
    ttl: int = 0

    @property
    def answered(self) -> bool:
        return self.end is not None and not self.refused


class Event(msgspec.Struct, frozen=True, array_like=True):
    """`value` None: the key was deleted. `previous`: value and mod revision before, if told."""

    key: str
    value: str | None
    mod: int
    create: int = 0
    version: int = 0
    lease: int = 0
    previous: tuple[str, int] | None = None


class Response(msgspec.Struct, frozen=True, array_like=True):
    """One message of a watch. Without events it is a progress notification."""

    at: float
    revision: int
    events: list[Event]
    fragment: bool = False


class Session(msgspec.Struct):
    """A watch from its creation to the end of its stream. `compacted`: the revision it was ended
    with, because what it still had to be sent is gone."""

    start: int
    member: str
    responses: list[Response] = []
    compacted: int = 0
    ended: str = ""


class Watch(msgspec.Struct):
    """One watcher over all its sessions. It wants what begins with `prefix`."""

    name: str
    prefix: str
    prev_kv: bool = False
    puts: bool = True
    deletes: bool = True
    sessions: list[Session] = []

    def wants(self, event: Event) -> bool:
        wanted = self.deletes if event.value is None else self.puts
        return wanted and event.key.startswith(self.prefix)


class Run(msgspec.Struct):
    """All of one run. `recorder` is the watch of everything that the history is made of."""

    scenario: str
    members: int
    seed: int
    program: str
    ops: list[Op] = []
    recorder: Watch = msgspec.field(default_factory=lambda: Watch("recorder", "", prev_kv=True))
    watches: list[Watch] = []
    final_revision: int = 0
    log: list[str] = []
    problems: list[str] = []

    @property
    def acknowledged(self) -> int:
        return sum(1 for op in self.ops if op.answered and op.writes and op.succeeded)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(self))


def load(path: Path) -> Run:
    return msgspec.json.decode(path.read_bytes(), type=Run)
