"""The REST protocol itself: limits, authentication, watches, chunks, as any client sees them."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kube.component.tls import client_context
from tests.component.apiserver_harness import Cluster, cluster
from tests.component.pki_fixture import Pki

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("etcd", tmp_path_factory.mktemp("http"), pki) as running:
        yield running


@asynccontextmanager
async def session(lab: Cluster, tls: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    before = open_files()
    connector = aiohttp.TCPConnector(ssl=tls)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(lab.server.url, connector=connector, timeout=timeout) as made:
        yield made
    await sockets_closed(before)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def sockets_closed(before: int) -> None:
    """TLS says goodbye in the background; the loop must not end before its sockets are closed."""
    async with asyncio.timeout(60):
        while open_files() > before:
            await asyncio.sleep(0.01)


@pytest.fixture
async def http(lab: Cluster, pki: Pki) -> AsyncIterator[aiohttp.ClientSession]:
    tls = client_context(pki.issue("http-admin", organizations=("system:masters",)))
    async with session(lab, tls) as made:
        yield made


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def make(http: aiohttp.ClientSession, name: str, **data: str) -> dict[str, Any]:
    async with http.post(MAPS, json=config_map(name, **data)) as answer:
        assert answer.status == 201, await answer.text()
        made: dict[str, Any] = await answer.json()
        return made


async def frames(answer: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    found = []
    async with asyncio.timeout(60):
        while len(found) < count:
            found.append(json.loads(await answer.content.readline()))
    return found


async def test_only_health_and_version_are_for_everybody(lab: Cluster, pki: Pki) -> None:
    tls = ssl.create_default_context(cafile=str(pki.issue("anonymous").ca))
    async with session(lab, tls) as http:
        for path, status in (
            ("/healthz", 200), ("/livez", 200), ("/readyz", 200), ("/version", 200),
            ("/api/v1/pods", 401), ("/metrics", 401), ("/api", 401),
        ):  # fmt: skip
            async with http.get(path) as answer:
                assert answer.status == status, path


async def test_a_body_that_announces_itself_as_too_large_is_not_read(
    http: aiohttp.ClientSession,
) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(50 * 2**20)}
    async with http.post(MAPS, data=b"{}", headers=headers) as answer:
        assert answer.status == 413
        assert (await answer.json())["reason"] == "RequestEntityTooLarge"


async def test_a_body_without_a_length_is_read_to_the_limit(lab: Cluster, pki: Pki) -> None:
    tls = client_context(pki.issue("http-admin", organizations=("system:masters",)))
    before = open_files()
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.server.https_port, ssl=tls)
    head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for _ in range(25):  # 25 x 64 KiB are more than 1.5 MiB; no last chunk is sent
        writer.write(chunk)
    async with asyncio.timeout(60):
        assert b" 413 " in await reader.readline()
    writer.transport.abort()
    await sockets_closed(before)


async def test_malformed_bodies_are_bad_requests(http: aiohttp.ClientSession) -> None:
    for body in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"metadata": 3}', b"[" * 100_000):
        async with http.post(
            MAPS, data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            assert answer.status == 400, body[:20]
            assert (await answer.json())["kind"] == "Status"
    protobuf = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    for body in (b"", b"k8s\0", b"k8s\0\x0a\xff", b"k8s\0" + b"\xff" * 50):
        async with http.post(MAPS, data=body, headers=protobuf) as answer:
            assert answer.status == 400, body
    async with http.post(MAPS, data=b"x", headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415


async def test_updates_need_the_current_resource_version(http: aiohttp.ClientSession) -> None:
    made = await make(http, "versioned", a="1")
    async with http.put(f"{MAPS}/versioned", json={**made, "data": {"a": "2"}}) as answer:
        assert answer.status == 200
    async with http.put(f"{MAPS}/versioned", json={**made, "data": {"a": "3"}}) as answer:
        assert answer.status == 409
        body = await answer.json()
    assert body["reason"] == "Conflict"
    assert body["message"].startswith(
        'Operation cannot be fulfilled on configmaps "versioned": the object has been modified'
    )


async def test_a_watch_goes_on_where_a_list_ended(http: aiohttp.ClientSession) -> None:
    await make(http, "seen", a="1")
    async with http.get(MAPS) as answer:
        revision = (await answer.json())["metadata"]["resourceVersion"]
    query = {"watch": "true", "resourceVersion": revision, "labelSelector": "w=1"}
    async with http.get(MAPS, params=query) as answer:
        labelled = config_map("watched")
        labelled["metadata"]["labels"] = {"w": "1"}
        await http.post(MAPS, json=labelled)
        patch = {"Content-Type": "application/merge-patch+json"}
        for labels in ({"w": "1", "x": "1"}, {"w": None}):
            await http.patch(
                f"{MAPS}/watched", data=json.dumps({"metadata": {"labels": labels}}), headers=patch
            )
        events = await frames(answer, 3)
    # An object that ceases to match the selector is gone for this watcher.
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert revisions == sorted(revisions)


async def test_initial_events_end_with_a_bookmark(http: aiohttp.ClientSession) -> None:
    await make(http, "initial")
    query = {
        "watch": "true",
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
        "fieldSelector": "metadata.name=initial",
    }
    async with http.get(MAPS, params=query) as answer:
        added, bookmark = await frames(answer, 2)
    assert added["type"] == "ADDED"
    assert bookmark["type"] == "BOOKMARK"
    annotations = bookmark["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


async def test_resource_versions_out_of_reach_are_told(
    lab: Cluster, http: aiohttp.ClientSession
) -> None:
    # Revision 1 is before the first list of a server that starts now.
    late = await asyncio.to_thread(lab.add_server, "late")
    query = {"watch": "true", "resourceVersion": "1"}
    async with http.get(late.url + MAPS, params=query) as answer:
        assert answer.status == 410
        assert (await answer.json())["reason"] == "Expired"
    async with http.get(MAPS, params={"resourceVersion": "999999999"}) as answer:
        assert answer.status == 504
        assert "Too large resource version" in (await answer.json())["message"]
    async with http.get(MAPS, params={"resourceVersion": "x"}) as answer:
        assert answer.status == 400


async def test_chunks_are_of_one_revision(http: aiohttp.ClientSession) -> None:
    for index in range(5):
        await make(http, f"chunk-{index}")
    query = {"limit": "2", "fieldSelector": "metadata.name!=kube-root-ca.crt"}
    names: list[str] = []
    revisions = set()
    async with http.get(MAPS, params=query) as answer:
        page = await answer.json()
    await make(http, "chunk-late")
    while True:
        names += [item["metadata"]["name"] for item in page["items"]]
        revisions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue")
        if not token:
            break
        async with http.get(MAPS, params={**query, "continue": token}) as answer:
            page = await answer.json()
    assert len(revisions) == 1
    assert "chunk-late" not in names
    assert names == sorted(names)
    assert {f"chunk-{index}" for index in range(5)} <= set(names)


async def test_selectors_that_cannot_be_read_are_bad_requests(http: aiohttp.ClientSession) -> None:
    for query in (
        {"labelSelector": "a=b=c("},
        {"fieldSelector": "spec.nope=1"},
        {"limit": "x"},
        {"continue": "@@"},
    ):
        async with http.get(MAPS, params=query) as answer:
            assert answer.status == 400, query


async def test_delete_collection_obeys_its_selector(http: aiohttp.ClientSession) -> None:
    for name, label in (("gone-1", "x"), ("gone-2", "x"), ("stays", "y")):
        body = config_map(name)
        body["metadata"]["labels"] = {"group": label}
        await http.post(MAPS, json=body)
    async with http.delete(MAPS, params={"labelSelector": "group=x"}) as answer:
        assert len((await answer.json())["items"]) == 2
    async with http.get(MAPS, params={"labelSelector": "group"}) as answer:
        assert [i["metadata"]["name"] for i in (await answer.json())["items"]] == ["stays"]


async def test_finalizers_hold_an_object_until_they_are_gone(http: aiohttp.ClientSession) -> None:
    body = config_map("held")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await http.post(MAPS, json=body)
    async with http.delete(f"{MAPS}/held", params={"propagationPolicy": "Foreground"}) as answer:
        meta = (await answer.json())["metadata"]
    assert meta["deletionTimestamp"]
    assert meta["finalizers"] == ["example.com/hold", "foregroundDeletion"]
    async with http.patch(
        f"{MAPS}/held",
        data=json.dumps({"metadata": {"finalizers": None}}),
        headers={"Content-Type": "application/merge-patch+json"},
    ) as answer:
        assert answer.status == 200
    async with http.get(f"{MAPS}/held") as answer:
        assert answer.status == 404


async def test_preconditions_guard_deletes(http: aiohttp.ClientSession) -> None:
    await make(http, "guarded")
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
    async with http.delete(f"{MAPS}/guarded", json=options) as answer:
        assert answer.status == 409
        assert "Precondition failed: UID in precondition: other" in (await answer.json())["message"]


async def test_unknown_paths_kinds_and_methods(http: aiohttp.ClientSession) -> None:
    for path in ("/nope", "/api/v2", "/api/v1/nopes", "/apis/nope/v1/pods", f"{MAPS}/x/nope"):
        async with http.get(path) as answer:
            assert answer.status == 404, path
            # As upstream says it: no Status, out of which kubectl reads what is not there.
            assert await answer.text() == "404 page not found\n"
    async with http.post(f"{MAPS}/x", json=config_map("x")) as answer:
        assert answer.status == 405
    async with http.get(MAPS, headers={"Accept": "text/html"}) as answer:
        assert answer.status == 406


async def test_unknown_fields_warn_by_default(http: aiohttp.ClientSession) -> None:
    body = {**config_map("warned"), "spek": {}}
    async with http.post(MAPS, json=body) as answer:
        assert answer.status == 201
        assert answer.headers["Warning"] == '299 - "unknown field \\"spek\\""'


async def test_a_large_answer_comes_whole_and_leaves_its_connection_open(
    http: aiohttp.ClientSession,
) -> None:
    text = "x" * (600 << 10)
    async with http.post(MAPS, json=config_map("large", text=text)) as response:
        assert response.status == 201
        first = response.connection and response.connection.transport
        assert (await response.json())["data"]["text"] == text
    for _ in range(2):
        async with http.get(f"{MAPS}/large") as response:
            assert response.connection is not None
            assert response.connection.transport is first
            body = await response.read()
            assert response.headers["Content-Length"] == str(len(body))
            assert json.loads(body)["data"]["text"] == text
    async with http.delete(f"{MAPS}/large") as response:
        assert response.status == 200
