"""A drill's result as one value that all reports are made of: `report.json` of a run. Pure.

The JSON schema in docs/drill-report.schema.json is generated from here. All times are seconds after
the fault, except where the name says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class FindingPart(_Part, frozen=True, kw_only=True):
    metric: str
    limit: float
    at_least: bool = False
    measured: float | None
    severity: str
    met: bool


class PhasePart(_Part, frozen=True, kw_only=True):
    key: str
    title: str
    seconds: Annotated[float | None, Meta(description="null: it was not seen.")]
    took: Annotated[
        float | None, Meta(description="Since the latest phase before it in the list.")
    ] = None
    detail: str = ""
    source: Annotated[str, Meta(description="The event that it is read from.")] = ""


class RequestPart(_Part, frozen=True, kw_only=True):
    started: float
    seconds: Annotated[float, Meta(description="How long it took.")]
    ok: bool
    via: str
    answer: str


class SpanPart(_Part, frozen=True, kw_only=True):
    """Something that lasted: a node NotReady, a component down, a probe that did not hold."""

    begin: float
    end: float
    what: str


class LanePart(_Part, frozen=True, kw_only=True):
    name: str
    victim: bool = False
    spans: tuple[SpanPart, ...] = ()


class AlertPart(_Part, frozen=True, kw_only=True):
    """An alert whose expression became true, by the rules of the lab's Prometheus."""

    name: str
    severity: str
    about: Annotated[str, Meta(description="The labels that tell it from others of its name.")]
    begin: float
    end: Annotated[float | None, Meta(description="null: it still was when the drill ended.")]
    for_seconds: Annotated[float, Meta(description="How long it waits before it fires.")]
    fires: Annotated[float | None, Meta(description="null: it went before it would have fired.")]


class LogPart(_Part, frozen=True, kw_only=True):
    """A warning or an error of a victim's component, from its journal."""

    seconds: float
    machine: str
    component: str
    text: str


class UndoPart(_Part, frozen=True, kw_only=True):
    seconds: float
    by: Annotated[str, Meta(description="drill, heal or watchdog")]
    event: str
    fault: str
    text: str


class Report(_Part, frozen=True, kw_only=True):
    """What a drill found."""

    api_version: Literal["muster/v1"] = "muster/v1"
    kind: Literal["DrillReport"] = "DrillReport"
    drill: str
    description: str = ""
    learn: str = ""
    lab: str
    profile: str
    run: str
    started_at: Annotated[str, Meta(description="RFC 3339; of the drill, not of the fault.")]
    fault: str = ""
    victim: Annotated[str, Meta(description="The victims' names.")]
    verdict: str
    why: Annotated[str, Meta(description="Why it was cut short, or what did not come back.")] = ""
    healed_at: float | None = None
    findings: tuple[FindingPart, ...] = ()
    phases: tuple[PhasePart, ...] = ()
    metrics: dict[str, float | None] = {}
    requests: tuple[RequestPart, ...] = ()
    api_writes: tuple[RequestPart, ...] = ()
    lanes: tuple[LanePart, ...] = ()
    alerts: tuple[AlertPart, ...] = ()
    logs: tuple[LogPart, ...] = ()
    undo: tuple[UndoPart, ...] = ()


def as_json(report: Report) -> bytes:
    """For machines: everything that was measured."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def from_json(text: bytes) -> Report:
    """A report that was written. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Report)
