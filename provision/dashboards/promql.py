"""What many panels ask in the same way. Pure."""

from __future__ import annotations

from provision.dashboards.board import Panel, Query

LAB = 'cluster="$cluster"'
RATE = "$__rate_interval"


def rate(series: str, by: str, selector: str = "", window: str = RATE) -> str:
    """Per second, summed by labels."""
    return f"sum by ({by}) (rate({series}{{{_chosen(selector)}}}[{window}]))"


def total(series: str, by: str = "", selector: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} ({series}{{{_chosen(selector)}}})"


def slowest(series: str, by: str = "", selector: str = "", window: str = "5m") -> str:
    """The 99th percentile of a histogram in seconds. Over five minutes: what is rare is seen too."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.99, {rate(f'{series}_bucket', labels, selector, window)})"


def graph(
    title: str, unit: str, *queries: tuple[str, str], help: str = "", stacked: bool = False
) -> Panel:
    made = tuple(Query(expr, legend) for expr, legend in queries)
    return Panel(title, made, unit, help=help, stacked=stacked)


def stat(
    title: str, expr: str, unit: str = "short", thresholds: tuple[tuple[float, str], ...] = ()
) -> Panel:
    return Panel(title, (Query(expr),), unit, "stat", thresholds=thresholds)


def table(title: str, expr: str, unit: str = "short") -> Panel:
    return Panel(title, (Query(expr),), unit, "table")


def _chosen(selector: str) -> str:
    return f"{LAB},{selector}" if selector else LAB
