"""The drill's document: `apiVersion: muster/v1, kind: Drill`. Frozen, unknown fields refused.

The JSON schema in docs/drill.schema.json is generated from here, descriptions included.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from drills.base import Name, Number, Percent, Seconds, Strict
from drills.faults import AnyFault
from drills.probes import AnyProbe
from drills.timeline import MetricName

Phases = Annotated[
    tuple[str, ...], Meta(description="Keys of phases, in their order; see docs/drills.md.")
]


class SteadyState(Strict, frozen=True, kw_only=True):
    """What must hold before anything is broken, while it is, and again at the end."""

    good_requests: Annotated[int, Meta(ge=1, description="Good answers in a row.")] = 20
    timeout_seconds: Seconds = 60
    probes: tuple[AnyProbe, ...] = ()


class Load(Strict, frozen=True, kw_only=True):
    """The clients of the drill: each request starts on schedule, whatever became of the last."""

    requests_per_second: Annotated[float, Meta(gt=0, le=1000)] = 20
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 1.0
    api_writes_per_second: Annotated[
        float, Meta(ge=0, le=200, description="Updates of a ConfigMap, as kubectl makes them.")
    ] = 0


class Recovery(Strict, frozen=True, kw_only=True):
    """What is waited for while the fault lasts."""

    phases: Phases = ("fault",)
    timeout_seconds: Number = 60
    settle_seconds: Annotated[
        Seconds, Meta(description="Time under load after the last phase: late failures are seen.")
    ] = 2


class WayBack(Strict, frozen=True, kw_only=True):
    """What is waited for after the fault was taken back."""

    phases: Phases = ()
    timeout_seconds: Number = 60
    settle_seconds: Seconds = 0


class Level(Strict, frozen=True, kw_only=True):
    """A service level: `metric` must be within its limits, else the drill fails or warns."""

    metric: MetricName
    max: Number | None = None
    min: Number | None = None
    severity: Literal["fail", "warn"] = "fail"


class Abort(Strict, frozen=True, kw_only=True):
    """End the drill at once, and take the faults back, when this is so."""

    metric: Annotated[MetricName, Meta(description="This figure goes over `max`.")] = ""
    max: Number | None = None
    probe: Annotated[str, Meta(description="Or this probe fails `failures` times in a row.")] = ""
    failures: Annotated[int, Meta(ge=1)] = 5


class Guard(Strict, frozen=True, kw_only=True):
    """How much a drill may take at once. What would go further is refused before it begins."""

    max_machines_percent: Annotated[
        Percent, Meta(description="Of the lab's machines, taken away at the same time.")
    ] = 50
    allow_quorum_loss: bool = False
    allow_last_replica: bool = False


class Metadata(Strict, frozen=True, kw_only=True):
    name: Name
    description: str = ""


class Spec(Strict, frozen=True, kw_only=True):
    learn: Annotated[str, Meta(description="What to look for, and what to learn from it.")] = ""
    workload: Annotated[str, Meta(description="[NAMESPACE/]NAME of the Service that is asked.")] = (
        "default/hello"
    )
    min_masters: Annotated[int, Meta(ge=1)] = 1
    steady_state: SteadyState = SteadyState()
    load: Load = Load()
    order: Annotated[
        Literal["sequence", "parallel"], Meta(description="How several faults follow each other.")
    ] = "sequence"
    faults: Annotated[tuple[AnyFault, ...], Meta(min_length=1, max_length=50)]
    recovery: Recovery = Recovery()
    way_back: WayBack = WayBack()
    levels: tuple[Level, ...] = ()
    abort: tuple[Abort, ...] = ()
    guard: Guard = Guard()


class Drill(Strict, frozen=True, kw_only=True):
    """A drill."""

    api_version: Literal["muster/v1"]
    kind: Literal["Drill"]
    metadata: Metadata
    spec: Spec

    @property
    def phases(self) -> tuple[str, ...]:
        return (*self.spec.recovery.phases, *self.spec.way_back.phases)

    @property
    def probes(self) -> tuple[str, ...]:
        return tuple(probe.name for probe in self.spec.steady_state.probes)
