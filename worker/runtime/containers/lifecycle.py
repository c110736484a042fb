"""What state a container is in, how its end is told, which signal stops it. Pure."""

from __future__ import annotations

import signal

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.records import ContainerRecord


def state(record: ContainerRecord) -> cri.ContainerState.ValueType:
    """CRI's state, derived from what is recorded. Pure."""
    if record.finished_at:
        return cri.CONTAINER_EXITED
    return cri.CONTAINER_RUNNING if record.started_at else cri.CONTAINER_CREATED


def end_reason(code: int | None, *, oom: bool) -> str:
    """The CamelCase reason that kubelets show. Pure.

    A container whose child was killed for memory but which itself ended well has completed.
    """
    if code == 0:
        return "Completed"
    if oom:
        return "OOMKilled"
    return "Unknown" if code is None else "Error"


def end_time(exit_file_time: int, started_at: int, now: int) -> int:
    """When a container ended: as its exit file says, else now. Nanoseconds. Pure.

    File times come from the kernel's coarse clock, some milliseconds behind the one that
    stamped the start: a short container must not seem to end before it began.
    """
    return max(exit_file_time or now, started_at)


def stop_signal(wanted: cri.Signal.ValueType, of_image: str) -> str:
    """The pod's, else the image's, else SIGTERM; a name that this kernel knows."""
    if wanted != cri.RUNTIME_DEFAULT:
        name = cri.Signal.Name(wanted)
    else:
        name = of_image.upper() or "SIGTERM"
    if name.isdigit():
        name = signal.Signals(int(name)).name
    name = name if name.startswith("SIG") else f"SIG{name}"
    return name if name in signal.Signals.__members__ else "SIGTERM"
