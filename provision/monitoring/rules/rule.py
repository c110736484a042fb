"""What a rule is made of. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RUNBOOKS = "https://runbooks.prometheus-operator.dev/runbooks"


@dataclass(frozen=True, slots=True)
class Alert:
    """`delay`: how long the expression must hold. `summary` may use Prometheus' templates."""

    name: str
    delay: str
    severity: str
    expr: str
    summary: str
    labels: dict[str, str] = field(default_factory=dict)

    def document(self, group: str) -> dict[str, Any]:
        runbook = f"{RUNBOOKS}/{group}/{self.name.lower()}"
        return {
            "alert": self.name,
            "expr": _one_line(self.expr),
            **({"for": self.delay} if self.delay else {}),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {"summary": self.summary, "runbook_url": runbook},
        }


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)

    def document(self, _: str) -> dict[str, Any]:
        labels = {"labels": self.labels} if self.labels else {}
        return {"record": self.name, "expr": _one_line(self.expr), **labels}


@dataclass(frozen=True, slots=True)
class Group:
    """`runbooks` is the folder of the alerts' runbooks."""

    name: str
    rules: tuple[Alert | Record, ...]
    runbooks: str = "kubernetes"
    interval: str = ""  # how often it is evaluated; Prometheus' own

    def document(self) -> dict[str, Any]:
        every = {"interval": self.interval} if self.interval else {}
        rules = [rule.document(self.runbooks) for rule in self.rules]
        return {"name": self.name, **every, "rules": rules}


def _one_line(expr: str) -> str:
    return " ".join(expr.split())
