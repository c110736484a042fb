"""The families of a pod's containers, and the same of its init containers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kube.api.base import Quantity
from kube.api.core import (
    Container,
    ContainerState,
    ContainerStateTerminated,
    ContainerStatus,
    Pod,
    ResourceRequirements,
)
from master.statemetrics.family import Family, Labels, Sample
from master.statemetrics.metadata import timestamp
from master.statemetrics.resources import amounts

# What one container's status says; None: nothing.
Read = Callable[[ContainerStatus], Sample | None]
_NO_STATE = ContainerState()


@dataclass(frozen=True, slots=True)
class Containers:
    """Which of a pod's containers, and what their families are called."""

    prefix: str
    of: Callable[[Pod], tuple[Container, ...]]
    statuses: Callable[[Pod], tuple[ContainerStatus, ...]]
    says_restart_policy: bool = False

    def families(self) -> tuple[Family[Pod], ...]:
        return (
            Family(f"{self.prefix}_info", "A container and its image.", self._info),
            self._flag("status_waiting", "Waits.", lambda s: _state(s).waiting is not None),
            self._reason("status_waiting_reason", "Why it waits.", _waiting_reason),
            self._flag("status_running", "Runs.", lambda s: _state(s).running is not None),
            self._time("state_started", "Unix time of its start.", _started),
            self._flag("status_terminated", "Has ended.", lambda s: _ended(s) is not None),
            self._reason("status_terminated_reason", "How it ended.", _terminated_reason),
            self._reason("status_last_terminated_reason", "How it last ended.", _last_reason),
            self._time(
                "status_last_terminated_exitcode", "With which code it last ended.", _last_exit_code
            ),
            self._time(
                "status_last_terminated_timestamp", "Unix time of its last end.", _last_finished
            ),
            self._flag("status_ready", "Is ready.", lambda s: bool(s.ready)),
            Family(
                f"{self.prefix}_status_restarts_total",
                "How often it was started again.",
                self._each(lambda status: ({}, status.restart_count or 0)),
                "counter",
            ),
            self._resources("resource_requests", "What it asks for.", _requests),
            self._resources("resource_limits", "What it may use at most.", _limits),
        )

    def _each(self, read: Read) -> Callable[[Pod], Iterable[Sample]]:
        def samples(pod: Pod) -> Iterable[Sample]:
            for status in self.statuses(pod):
                sample = read(status)
                if sample is not None:
                    yield {"container": status.name, **sample[0]}, sample[1]

        return samples

    def _flag(self, name: str, help: str, holds: Callable[[ContainerStatus], bool]) -> Family[Pod]:
        read = self._each(lambda status: ({}, float(holds(status))))
        return Family(f"{self.prefix}_{name}", f"Whether the container {_lower(help)}", read)

    def _reason(
        self, name: str, help: str, reason: Callable[[ContainerStatus], str]
    ) -> Family[Pod]:
        def read(status: ContainerStatus) -> Sample | None:
            said = reason(status)
            return ({"reason": said}, 1) if said else None

        return Family(f"{self.prefix}_{name}", help, self._each(read))

    def _time(
        self, name: str, help: str, number: Callable[[ContainerStatus], float | None]
    ) -> Family[Pod]:
        def read(status: ContainerStatus) -> Sample | None:
            value = number(status)
            return None if value is None else ({}, value)

        return Family(f"{self.prefix}_{name}", help, self._each(read))

    def _resources(
        self, name: str, help: str, read: Callable[[ResourceRequirements], dict[str, Quantity]]
    ) -> Family[Pod]:
        def samples(pod: Pod) -> Iterable[Sample]:
            for container in self.of(pod):
                resources = container.resources or ResourceRequirements()
                named = {"container": container.name, "node": pod.spec.node_name}
                yield from amounts(read(resources), **named)

        return Family(f"{self.prefix}_{name}", help, samples)

    def _info(self, pod: Pod) -> Iterable[Sample]:
        specs = {container.name: container for container in self.of(pod)}
        for status in self.statuses(pod):
            spec = specs.get(status.name, Container())
            labels: Labels = {
                "container": status.name,
                "image_spec": spec.image,
                "image": status.image,
                "image_id": status.image_id,
                "container_id": status.container_id,
            }
            if self.says_restart_policy:
                labels["restart_policy"] = spec.restart_policy
            yield labels, 1


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _requests(resources: ResourceRequirements) -> dict[str, Quantity]:
    return resources.requests


def _limits(resources: ResourceRequirements) -> dict[str, Quantity]:
    return resources.limits


def _state(status: ContainerStatus) -> ContainerState:
    return status.state or _NO_STATE


def _ended(status: ContainerStatus) -> ContainerStateTerminated | None:
    return _state(status).terminated


def _last(status: ContainerStatus) -> ContainerStateTerminated | None:
    return (status.last_state or _NO_STATE).terminated


def _waiting_reason(status: ContainerStatus) -> str:
    waiting = _state(status).waiting
    return waiting.reason if waiting else ""


def _terminated_reason(status: ContainerStatus) -> str:
    ended = _ended(status)
    return ended.reason if ended else ""


def _last_reason(status: ContainerStatus) -> str:
    last = _last(status)
    return last.reason if last else ""


def _last_exit_code(status: ContainerStatus) -> float | None:
    last = _last(status)
    return (last.exit_code or 0) if last else None


def _last_finished(status: ContainerStatus) -> float | None:
    last = _last(status)
    return timestamp(last.finished_at) if last else None


def _started(status: ContainerStatus) -> float | None:
    state = _state(status)
    started = state.running or state.terminated
    return timestamp(started.started_at) if started else None


APP = Containers(
    "kube_pod_container", lambda pod: pod.spec.containers, lambda pod: pod.status.container_statuses
)
INIT = Containers(
    "kube_pod_init_container",
    lambda pod: pod.spec.init_containers,
    lambda pod: pod.status.init_container_statuses,
    says_restart_policy=True,
)
