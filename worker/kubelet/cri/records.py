"""What the runtime has for one pod, as plain values: the pure parts decide over these.

Built from CRI messages in `inspect`; times are seconds since the epoch. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One run of one container. A restart makes a new record with the next `attempt`."""

    id: str
    name: str
    sandbox_id: str
    attempt: int = 0
    state: State = State.CREATED
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_id: str = ""
    hash: str = ""
    log_path: str = ""
    grace_seconds: int | None = None
    runtime: str = "cri"

    @property
    def uri(self) -> str:
        """`containerd://ID`: how the API names a container."""
        return f"{self.runtime}://{self.id}"

    @property
    def alive(self) -> bool:
        """Whether something may still run under this record."""
        return self.state in (State.RUNNING, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    id: str
    attempt: int = 0
    ready: bool = False
    created_at: float = 0.0
    ips: tuple[str, ...] = ()
    host_network: bool = False
    pid_mode: int = 1  # CRI NamespaceMode; the server tells attachers nothing else about it


@dataclass(frozen=True, slots=True)
class PodRecord:
    """All sandboxes and containers of one pod, newest first."""

    uid: str
    namespace: str = ""
    name: str = ""
    sandboxes: tuple[SandboxRecord, ...] = ()
    containers: tuple[ContainerRecord, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def sandbox(self) -> SandboxRecord | None:
        """The newest sandbox, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def alive(self) -> bool:
        """Whether a sandbox is ready or a container may run."""
        return any(s.ready for s in self.sandboxes) or any(c.alive for c in self.containers)

    def history(self, name: str) -> Iterator[ContainerRecord]:
        """The runs of one container, newest first."""
        return (c for c in self.containers if c.name == name)

    def latest(self, name: str) -> ContainerRecord | None:
        return next(self.history(name), None)

    def current(self, name: str) -> ContainerRecord | None:
        """The newest run inside the newest sandbox; older sandboxes are history."""
        sandbox = self.sandbox
        found = self.latest(name)
        return found if found and sandbox and found.sandbox_id == sandbox.id else None
