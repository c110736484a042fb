"""From a drill's result to its report. Decides over what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drills.alerts import AlertSeen
from drills.events import ApiWrite, Case, ComponentSeen, NodeSeen, Observations, ProbeSeen, Request
from drills.report.data import (
    AlertPart,
    FindingPart,
    LanePart,
    LogPart,
    PhasePart,
    Report,
    RequestPart,
    SpanPart,
    UndoPart,
)
from drills.result import Result


def report_of(result: Result) -> Report:
    case, seen = result.case, result.observations
    return Report(
        drill=result.drill.metadata.name,
        description=result.drill.metadata.description,
        learn=result.drill.spec.learn,
        lab=result.lab,
        profile=result.profile,
        run=result.run_id,
        started_at=result.started_at.isoformat(),
        fault=case.fault,
        victim=case.names,
        verdict=result.verdict.value,
        why=result.why,
        healed_at=None if case.healed_at is None else round(case.healed_at - case.fault_at, 3),
        findings=tuple(
            FindingPart(
                metric=f.metric, limit=f.limit, at_least=f.at_least, measured=f.measured,
                severity=f.severity, met=f.met,
            )
            for f in result.findings
        ),
        phases=tuple(
            PhasePart(
                key=p.key, title=p.title, seconds=p.seconds, took=p.took, detail=p.detail,
                source=p.source,
            )
            for p in result.timeline.phases
        ),
        metrics=result.timeline.metrics,
        requests=_requests(seen.of(Request), case.fault_at),
        api_writes=_requests(seen.of(ApiWrite), case.fault_at),
        lanes=tuple(_lanes(case, seen)),
        logs=tuple(
            LogPart(
                seconds=round(line.at - case.fault_at, 3), machine=line.machine,
                component=line.component, text=line.text,
            )
            for line in result.logs
        ),
        alerts=tuple(_alert(alert, case.fault_at) for alert in result.alerts),
        undo=tuple(
            UndoPart(
                seconds=round(line.at - case.fault_at, 3), by=line.by, event=line.event,
                fault=line.key, text=line.text,
            )
            for line in result.undo
        ),
    )  # fmt: skip


def _alert(alert: AlertSeen, fault_at: float) -> AlertPart:
    def after(at: float | None) -> float | None:
        return None if at is None else round(at - fault_at, 1)

    return AlertPart(
        name=alert.name,
        severity=alert.severity,
        about=alert.about,
        begin=round(alert.begin - fault_at, 1),
        end=after(alert.end),
        for_seconds=alert.for_seconds,
        fires=after(alert.fires),
    )


def _requests(requests: Sequence[Request], fault_at: float) -> tuple[RequestPart, ...]:
    return tuple(
        RequestPart(
            started=round(r.started - fault_at, 4), seconds=round(r.ended - r.started, 4),
            ok=r.ok, via=r.via, answer=r.answer,
        )
        for r in requests
    )  # fmt: skip


def _lanes(case: Case, seen: Observations) -> Iterator[LanePart]:
    """A line for each machine and each probe, with what was wrong with it and how long."""
    end: float = max((e.ended if isinstance(e, Request) else e.at for e in seen), default=0.0)
    for name in (*case.victims, *case.survivors):
        spans = []
        if name in case.victims and case.fault_at:
            until = case.healed_at if case.healed_at is not None else end
            spans.append(_span(case, case.fault_at, until, case.fault or "fault"))
        nodes = [(n.at, n.ready) for n in seen.of(NodeSeen) if n.name == name]
        spans += _bad(case, nodes, end, "NotReady")
        for component in sorted({c.component for c in seen.of(ComponentSeen)}):
            ups = [(c.at, c.up) for c in seen.of(ComponentSeen)
                   if c.machine == name and c.component == component]  # fmt: skip
            spans += _bad(case, ups, end, f"{component} down")
        yield LanePart(name=name, victim=name in case.victims, spans=tuple(spans))
    for probe in dict.fromkeys(p.probe for p in seen.of(ProbeSeen)):
        looks = [(p.at, p.ok) for p in seen.of(ProbeSeen) if p.probe == probe]
        yield LanePart(name=f"probe {probe}", spans=tuple(_bad(case, looks, end, "does not hold")))


def _bad(
    case: Case, states: Sequence[tuple[float, bool]], end: float, what: str
) -> Iterator[SpanPart]:
    """The stretches in which `states` (instant, good) were not good."""
    since: float | None = None
    for at, good in states:
        if not good and since is None:
            since = at
        elif good and since is not None:
            yield _span(case, since, at, what)
            since = None
    if since is not None:
        yield _span(case, since, end, what)


def _span(case: Case, begin: float, end: float, what: str) -> SpanPart:
    return SpanPart(
        begin=round(begin - case.fault_at, 3),
        end=round(max(begin, end) - case.fault_at, 3),
        what=what,
    )
