"""Decisions about callers of a component's port: kept for a while, bounded, never made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from kube.component import access as module
from kube.component.access import Access, Caller, Question, Unanswered, caller_of, guarded
from kube.http.messages import Request, Response, text
from worker.kubelet.server.authorization import subresources

ME = Caller("me", ("dev", "system:authenticated"))
METRICS = Question("get", path="/metrics")


class Server:
    """What is asked of the api-server, and what it says."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = set(allowed)
        self.asked: list[Mapping[str, Any]] = []
        self.away = False
        self.now = 0.0
        self.gate: asyncio.Event | None = None

    async def __call__(self, spec: dict[str, Any]) -> bool:
        self.asked.append(spec)
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise Unanswered("no api-server answers")
        return spec["user"] in self.allowed

    def access(self) -> Access:
        return Access(self, clock=lambda: self.now)


async def test_an_answer_holds_for_ten_seconds_and_is_asked_for_anew() -> None:
    server = Server("me")
    access = server.access()
    for now, questions in ((0.0, 1), (9.9, 1), (10.0, 2), (19.9, 2)):
        server.now = now
        assert await access.allows(ME, METRICS)
        assert len(server.asked) == questions
    server.allowed.clear()
    server.now = 20.0
    assert not await access.allows(ME, METRICS)
    server.allowed.add("me")
    server.now = 29.9
    assert not await access.allows(ME, METRICS)
    server.now = 30.0
    assert await access.allows(ME, METRICS)


async def test_who_is_known_may_go_on_while_the_api_server_is_away() -> None:
    server = Server("me")
    access = server.access()
    assert await access.allows(ME, METRICS)
    server.away = True
    assert await access.allows(ME, METRICS)
    with pytest.raises(Unanswered):
        await access.allows(Caller("other", ()), METRICS)
    server.now = 10.0
    with pytest.raises(Unanswered):
        await access.allows(ME, METRICS)
    server.away = False
    assert await access.allows(ME, METRICS)  # a failure is not remembered


async def test_masters_are_not_asked_about() -> None:
    server = Server()
    server.away = True
    assert await server.access().allows(Caller("root", ("system:masters",)), METRICS)
    assert not server.asked


async def test_the_same_question_is_asked_once_at_a_time_and_not_too_many() -> None:
    server = Server("me")
    server.gate = asyncio.Event()
    access = server.access()
    same = [asyncio.create_task(access.allows(ME, METRICS)) for _ in range(50)]
    others = [
        asyncio.create_task(access.allows(ME, Question("get", path=f"/{n}"))) for n in range(50)
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(server.asked) == module.MOST_QUESTIONS
    same[0].cancel()  # who goes away takes nobody's answer with him
    server.gate.set()
    assert all(await asyncio.gather(*same[1:], *others))
    assert len(server.asked) == 51


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 3)
    server = Server("me")
    access = server.access()
    for path in ("/a", "/b", "/c", "/a", "/d"):
        await access.allows(ME, Question("get", path=path))
    asked = len(server.asked)
    await access.allows(ME, Question("get", path="/a"))  # used lately, so kept
    assert len(server.asked) == asked
    await access.allows(ME, Question("get", path="/b"))
    assert len(server.asked) == asked + 1


def test_the_question_is_a_subject_access_review() -> None:
    assert METRICS.spec(ME) == {
        "user": "me", "groups": ["dev", "system:authenticated"],
        "nonResourceAttributes": {"verb": "get", "path": "/metrics"},
    }  # fmt: skip
    node = Question("create", node="w1", subresource="proxy").spec(ME)
    assert node["resourceAttributes"] == {
        "verb": "create", "version": "v1", "resource": "nodes", "subresource": "proxy",
        "name": "w1",
    }  # fmt: skip


def test_the_caller_is_the_certificates_subject() -> None:
    peer = {"subject": ((("organizationName", "a"),), (("organizationName", "b"),),
                        (("commonName", "me"),))}  # fmt: skip
    assert caller_of(peer) == Caller("me", ("a", "b", "system:authenticated"))
    assert caller_of(None) is None
    assert caller_of({"subject": ((("organizationName", "system:masters"),),)}) is None


async def page(_: Request) -> Response:
    return text("secret")


def request(path: str, user: str | None = "me", method: str = "GET") -> Request:
    subject = ((("commonName", user),),) if user else ()
    return Request(method, path, peer_names=lambda: {"subject": subject})


async def test_a_page_is_shown_to_those_who_may_read_it() -> None:
    server = Server("me")
    serve = guarded(page, server.access())
    assert (await serve(request("/metrics"))).status == 200
    refused = await serve(request("/metrics", "you"))
    assert isinstance(refused.body, bytes)
    status = json.loads(refused.body)
    assert (refused.status, status["code"], status["reason"]) == (403, 403, "Forbidden")
    assert status["message"] == 'forbidden: User "you" cannot get path "/metrics"'
    assert (await serve(request("/metrics", None))).status == 401
    server.away = True
    assert (await serve(request("/metrics"))).status == 200
    failed = await serve(request("/metrics", "new"))
    assert failed.status == 500
    assert b'Internal Server Error: "/metrics"' in bytes(failed.body)  # type: ignore[arg-type]
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await serve(request(path, "new"))).status == 200


async def test_another_path_or_method_is_another_question() -> None:
    server = Server("me")
    serve = guarded(page, server.access())
    await serve(request("/healthz/etcd"))
    await serve(request("/metrics", method="POST"))
    await serve(request("/metrics", method="HEAD"))
    asked = [spec["nonResourceAttributes"] for spec in server.asked]
    assert asked == [
        {"verb": "get", "path": "/healthz/etcd"}, {"verb": "post", "path": "/metrics"},
        {"verb": "get", "path": "/metrics"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/metrics", ("metrics",)), ("/metrics/cadvisor", ("metrics",)), ("/metricsx", ("proxy",)),
        ("/stats/summary", ("stats",)), ("/logs/", ("log",)), ("/logs/syslog", ("log",)),
        ("/pods", ("pods", "proxy")), ("/runningpods/", ("pods", "proxy")),
        ("/configz", ("configz", "proxy")), ("/healthz", ("healthz", "proxy")),
        ("/healthz/ping", ("healthz", "proxy")), ("/exec/a/b/c", ("proxy",)),
        ("/containerLogs/a/b/c", ("proxy",)), ("/", ("proxy",)), ("//metrics", ("proxy",)),
        ("/metrics/../exec/a/b/c", ("metrics",)), ("/checkpoint/a/b/c", ("checkpoint",)),
    ],
)  # fmt: skip
def test_the_kubelets_paths_are_subresources_of_its_node(
    path: str, wanted: tuple[str, ...]
) -> None:
    assert subresources(path) == wanted
