"""`/metrics/slis`: how each health check went, by upstream's names.

Checks are asked when somebody scrapes, so that the series tell of them as often as wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

_TYPE = "healthz"


class Slis:
    """The series of one process; its checks may change from scrape to scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._now = Gauge(
            "kubernetes_healthcheck",
            "1 while the check succeeds, else 0.",
            ["name", "type"],
            registry=self._registry,
        )
        self._counted = Counter(
            "kubernetes_healthchecks_total",
            "Results of the check.",
            ["name", "type", "status"],
            registry=self._registry,
        )

    def page(self, checks: Mapping[str, Callable[[], str | None]]) -> bytes:
        """Asks each check and `ping`, which every process has."""
        for name, check in {"ping": lambda: None, **checks}.items():
            well = check() is None
            self._now.labels(name, _TYPE).set(well)
            for status in ("success", "error"):
                self._counted.labels(name, _TYPE, status).inc(float(well == (status == "success")))
        return generate_latest(self._registry)
