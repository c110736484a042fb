"""Alerts of a drill: what its fault made true, from when, and when each would fire."""

from __future__ import annotations

import asyncio
from typing import Any

from drills.alerts import AlertSeen, seen_by
from kube.http.messages import Request, Response, json_page
from kube.http.server import http_server

FAULT, END = 1000.0, 1060.0
RULES = [
    {"name": "Quick", "query": "quick", "duration": 0, "labels": {"severity": "warning"}},
    {"name": "Slow", "query": "slow", "duration": 900, "labels": {"severity": "critical"}},
    {"name": "Old", "query": "old", "duration": 60, "labels": {}},
    {"name": "Short", "query": "short", "duration": 60, "labels": {}},
    {"name": "Refused", "query": "refused", "duration": 60, "labels": {}},
]


def series(begin: int, end: int, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[at, "1"] for at in range(begin, end + 1)]}


ANSWERS = {
    "quick": [series(1010, 1020, node="w1", zone="z")],
    "slow": [series(1005, 1060, namespace="default", pod="hello")],
    "old": [series(999, 1060)],
    "short": [series(1030, 1040)],
}


async def page(request: Request) -> Response:
    if request.path == "/api/v1/rules":
        return json_page({"data": {"groups": [{"rules": RULES}]}})
    if request.asked("query") == "refused":
        return json_page({"status": "error", "error": "query timed out"}, 503)
    return json_page({"data": {"result": ANSWERS[request.asked("query")]}})


def test_what_the_fault_made_true_is_told_and_when_it_fires() -> None:
    async def ask() -> tuple[AlertSeen, ...]:
        async with http_server(page, "127.0.0.1", 0, None) as port:
            return await seen_by(f"http://127.0.0.1:{port}", FAULT, END)

    slow, quick, short = asyncio.run(ask())
    assert (slow.name, slow.severity, slow.about) == (
        "Slow", "critical", "namespace=default, pod=hello",
    )  # fmt: skip
    assert (slow.begin, slow.end, slow.fires) == (1005, None, 1905)
    assert (quick.about, quick.begin, quick.end, quick.fires) == ("node=w1", 1010, 1020, 1010)
    assert (short.end, short.fires) == (1040, None)


def test_a_lab_without_prometheus_has_no_alerts() -> None:
    assert asyncio.run(seen_by("", FAULT, END)) == ()
    assert asyncio.run(seen_by("http://127.0.0.1:9", FAULT, END)) == ()
