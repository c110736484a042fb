"""Which pods have to go because of what they use, and in whose words. Pure.

Follows upstream's `eviction_manager` and `eviction/helpers`: limits of local storage end the pod
that is over them; a node that runs short of something evicts its worst pod for it, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube.api import core
from kube.api.base import Quantity
from kube.machinery.qos import limits_of, requests_of
from kube.machinery.quantity import whole
from worker.kubelet.pod.admission import Refusal, is_critical

EVICTED = "Evicted"
MEMORY, STORAGE, INODES, PIDS = "memory", "ephemeral-storage", "inodes", "pids"
# signal: (the resource that is short, the node's condition)
SIGNALS = {
    "memory.available": (MEMORY, "MemoryPressure"),
    "nodefs.available": (STORAGE, "DiskPressure"),
    "nodefs.inodesFree": (INODES, "DiskPressure"),
    "pid.available": (PIDS, "PIDPressure"),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """`signal<quantity` or `signal<share`; a share of something large is enough at `plenty`."""

    signal: str
    quantity: int = 0
    share: float = 0.0
    plenty: int | None = None

    def limit(self, capacity: int) -> int:
        wanted = int(self.share * capacity) if self.share else self.quantity
        return wanted if self.plenty is None else min(wanted, self.plenty)


# Upstream's, and a share of tasks. A tenth of a large disk that the host shares is still plenty.
DEFAULT_THRESHOLDS: tuple[Threshold, ...] = (
    Threshold("memory.available", quantity=100 << 20),
    Threshold("nodefs.available", share=0.10, plenty=2 << 30),
    Threshold("nodefs.inodesFree", share=0.05),
    Threshold("pid.available", share=0.05),
)


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """--eviction-hard. Raises ValueError."""
    return tuple(_threshold(item.strip()) for item in text.split(",") if item.strip())


def _threshold(item: str) -> Threshold:
    signal, sign, value = item.partition("<")
    if not sign or signal not in SIGNALS:
        raise ValueError(f"invalid eviction threshold {item!r}, expected one of "
                         f"{', '.join(SIGNALS)}, < and a quantity or a percentage")  # fmt: skip
    if value.endswith("%"):
        share = float(value[:-1]) / 100
        if not 0 <= share <= 1:
            raise ValueError(f"eviction percentage threshold {item!r} must be between 0% and 100%")
        return Threshold(signal, share=share)
    return Threshold(signal, quantity=whole(value))


@dataclass(frozen=True, slots=True)
class Observation:
    """How much there is of something, and how much is left."""

    available: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Shortage:
    threshold: Threshold
    observed: Observation

    @property
    def resource(self) -> str:
        return SIGNALS[self.threshold.signal][0]

    @property
    def condition(self) -> str:
        return SIGNALS[self.threshold.signal][1]


def shortages(
    thresholds: Iterable[Threshold], seen: Mapping[str, Observation]
) -> tuple[Shortage, ...]:
    """Memory first, as upstream: it ends a node sooner than a full disk does."""
    found = [
        Shortage(threshold, seen[threshold.signal])
        for threshold in thresholds
        if threshold.signal in seen
        and seen[threshold.signal].available < threshold.limit(seen[threshold.signal].capacity)
    ]
    return tuple(sorted(found, key=lambda s: s.resource != MEMORY))


class Pressures:
    """The node's conditions: true from the first shortage until it was none for a while."""

    def __init__(self, transition_seconds: float) -> None:
        self._transition = transition_seconds
        self._seen: dict[str, float] = {}

    def observe(self, found: Iterable[Shortage], now: float) -> None:
        for shortage in found:
            self._seen[shortage.condition] = now
        self._seen = {c: at for c, at in self._seen.items() if now - at <= self._transition}

    def __call__(self) -> tuple[str, ...]:
        return tuple(sorted(self._seen))


@dataclass(frozen=True, slots=True)
class PodUsage:
    """Bytes on this node: of each emptyDir on disk, of each container's layer and logs."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[str, int] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)

    @property
    def storage(self) -> int:
        return sum(self.volumes.values()) + sum(self.containers.values())

    def of(self, resource: str) -> int:
        return sum(self.memory.values()) if resource == MEMORY else self.storage

    def by_container(self, resource: str) -> Mapping[str, int]:
        return self.memory if resource == MEMORY else self.containers


# ---- limits of local storage


def disk_volumes(pod: core.Pod) -> dict[str, Quantity | None]:
    """The emptyDirs on disk, with their limits; what is in memory is bounded by its tmpfs."""
    return {
        v.name: v.empty_dir.size_limit
        for v in pod.spec.volumes
        if v.empty_dir and v.empty_dir.medium != "Memory"
    }


def is_limited(pod: core.Pod) -> bool:
    """Whether anything of the pod's disk has a limit, so that it must be measured."""
    return any(disk_volumes(pod).values()) or any(STORAGE in limits_of(c) for c in _all(pod))


def _all(pod: core.Pod) -> tuple[core.Container, ...]:
    return (*pod.spec.init_containers, *pod.spec.containers)


def over_limit(pod: core.Pod, usage: PodUsage) -> Refusal | None:
    """The limit that the pod is over."""
    for name, limit in disk_volumes(pod).items():
        if limit and usage.volumes.get(name, 0) > whole(limit):
            text = f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
            return Refusal(EVICTED, text)
    limits = {c.name: limits_of(c).get(STORAGE) for c in pod.spec.containers}
    total = sum(whole(limit) for limit in limits.values() if limit)
    if total and usage.storage > total:
        text = ("Pod ephemeral local storage usage exceeds the total limit of containers "
                f"{binary(total)}. ")  # fmt: skip
        return Refusal(EVICTED, text)
    for name, limit in limits.items():
        if limit and usage.containers.get(name, 0) > whole(limit):
            text = f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
            return Refusal(EVICTED, text)
    return None


# ---- a node that runs short


def worst(pods: Iterable[tuple[core.Pod, PodUsage]], resource: str) -> core.Pod | None:
    """Who goes first: over its request, then of the lowest priority, then the largest."""
    candidates = [(pod, usage) for pod, usage in pods if not is_critical(pod)]
    if not candidates:
        return None
    return min(candidates, key=lambda item: _rank(item[0], item[1], resource))[0]


def _rank(pod: core.Pod, usage: PodUsage, resource: str) -> tuple[bool, int, int]:
    kind = MEMORY if resource == MEMORY else STORAGE
    request = sum(whole(requests_of(c).get(kind, 0)) for c in pod.spec.containers)
    above = usage.of(resource) - request
    return above <= 0, pod.spec.priority or 0, -above


def shortage_message(pod: core.Pod, usage: PodUsage, shortage: Shortage) -> str:
    observed = shortage.observed
    kind = MEMORY if shortage.resource == MEMORY else STORAGE
    text = (f"The node was low on resource: {shortage.resource}. Threshold quantity: "
            f"{binary(shortage.threshold.limit(observed.capacity))}, available: "
            f"{binary(observed.available)}. ")  # fmt: skip
    used = usage.by_container(shortage.resource)
    for container in pod.spec.containers:
        request = whole(requests_of(container).get(kind, 0))
        if used.get(container.name, 0) > request:
            text += (
                f"Container {container.name} was using {binary(used[container.name])}, "
                f"request is {binary(request)}, has larger consumption of {kind}. "
            )
    return text


def binary(number: int) -> str:
    """A quantity as upstream writes it: the largest power of 1024 that divides it."""
    for power, suffix in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if number and number % (1 << power) == 0:
            return f"{number >> power}{suffix}"
    return str(number)
