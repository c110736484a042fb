"""A registry that wants credentials for somebody else, or never ends its answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kube.stubs.cri import api_pb2 as cri
from tests.security.hostile_images import Blob, digest_of, documents, entries, entry, plain
from worker.runtime.errors import InvalidArgument, RuntimeFailure
from worker.runtime.images import registry_auth
from worker.runtime.images.registry import Puller
from worker.runtime.images.store import ImageStore

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
AUTH = cri.AuthConfig(username="me", password="secret")
BASIC = "Basic " + base64.b64encode(b"me:secret").decode()


class Site:
    """An HTTP server on the loopback that remembers who asked it for what."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.seen: list[tuple[str, str]] = []
        self.address = ""
        self.sent = 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, request.headers.get("Authorization", "")))
        return await self._handler(request)


@asynccontextmanager
async def site(handler: Handler) -> AsyncIterator[Site]:
    made = Site(handler)
    app = web.Application()
    app.router.add_get("/{path:.*}", made._handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        listening = web.TCPSite(runner, "127.0.0.1", 0)
        await listening.start()
        made.address = f"127.0.0.1:{runner.addresses[0][1]}"
        yield made
    finally:
        await runner.cleanup()


def image(size: int = 5) -> tuple[bytes, bytes, Blob]:
    blob = plain(entries(entry("f", size=size)))
    manifest, config = documents([blob])
    return manifest, config, blob


def registry(
    manifest: bytes, config: bytes, layer: Handler, challenge: Callable[[], str] | None = None
) -> Handler:
    """With a challenge, nothing is given without an Authorization."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if challenge and "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": challenge()})
        if "/manifests/" in request.path:
            return web.Response(body=manifest)
        if request.path.endswith(digest_of(config)):
            return web.Response(body=config)
        return await layer(request)

    return handle


def whole(blob: Blob) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=blob.content)

    return handle


async def pull(tmp_path: Path, address: str) -> ImageStore:
    store = ImageStore(tmp_path / "store")
    async with asyncio.timeout(60):
        await Puller(tmp_path / "downloads").pull(store, f"{address}/x/app:1", AUTH)
    return store


async def _token(_: web.Request) -> web.Response:
    return web.json_response({"token": "t0ken"})


@pytest.mark.root
async def test_the_token_flow_works_with_the_registry_itself(tmp_path: Path) -> None:
    manifest, config, blob = image()
    where: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return await _token(request)
        inner = registry(
            manifest, config, whole(blob), lambda: f'Bearer realm="http://{where[0]}/token"'
        )
        return await inner(request)

    async with site(handle) as made:
        where.append(made.address)
        store = await pull(tmp_path, made.address)
        assert len(store.list()) == 1
        asked = dict(made.seen)
        assert asked["/token"] == BASIC
        assert asked["/v2/x/app/manifests/1"] == "Bearer t0ken"


async def test_credentials_go_to_no_other_plain_realm(tmp_path: Path) -> None:
    manifest, config, blob = image()
    async with site(_token) as thief:
        challenge = f'Bearer realm="http://{thief.address}/token",service="x"'
        async with site(registry(manifest, config, whole(blob), lambda: challenge)) as made:
            with pytest.raises(InvalidArgument, match="not https"):
                await pull(tmp_path, made.address)
        assert thief.seen == []


async def test_credentials_do_not_follow_a_token_server_s_redirect(tmp_path: Path) -> None:
    manifest, config, blob = image()
    where: list[str] = []
    async with site(_token) as thief:

        async def handle(request: web.Request) -> web.StreamResponse:
            if request.path == "/token":
                return web.Response(
                    status=307, headers={"Location": f"http://{thief.address}/token"}
                )
            inner = registry(
                manifest, config, whole(blob), lambda: f'Bearer realm="http://{where[0]}/token"'
            )
            return await inner(request)

        async with site(handle) as made:
            where.append(made.address)
            with pytest.raises(InvalidArgument, match="no access token"):
                await pull(tmp_path, made.address)
        assert thief.seen == []


@pytest.mark.root
async def test_a_layer_elsewhere_is_fetched_without_authorization(tmp_path: Path) -> None:
    """Registries keep layers at other hosts, and redirect there."""
    manifest, config, blob = image()
    async with site(whole(blob)) as storage:

        async def away(request: web.Request) -> web.Response:
            location = f"http://{storage.address}/blob"
            return web.Response(status=307, headers={"Location": location})

        async with site(registry(manifest, config, away, lambda: "Basic realm=x")) as made:
            store = await pull(tmp_path, made.address)
            assert len(store.list()) == 1
            assert ("/v2/x/app/manifests/1", BASIC) in made.seen
        assert storage.seen == [("/blob", "")]


async def test_redirects_end(tmp_path: Path) -> None:
    async def around(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.path})

    async with site(around) as made:
        with pytest.raises(InvalidArgument, match="without end"):
            await pull(tmp_path, made.address)
        assert len(made.seen) == 10


def endless(limit: int, sent: list[int]) -> Handler:
    """Sends until the other side has had enough, and counts."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        chunk = b"[" * (1 << 16)
        while sum(sent) < limit:
            await response.write(chunk)
            sent.append(len(chunk))
        return response

    return handle


@pytest.mark.parametrize("what", ["manifest", "config", "layer", "token"])
async def test_an_answer_without_end_is_cut(tmp_path: Path, what: str) -> None:
    manifest, config, _ = image(size=1 << 20)
    sent: list[int] = []
    flood = endless(256 << 20, sent)
    where: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        kinds = {
            "manifest": "/manifests/" in request.path,
            "config": request.path.endswith(digest_of(config)),
            "layer": "/blobs/" in request.path and not request.path.endswith(digest_of(config)),
            "token": request.path == "/token",
        }
        if kinds[what] and (what != "token" or request.path == "/token"):
            return await flood(request)
        challenge = (lambda: f'Bearer realm="http://{where[0]}/token"') if what == "token" else None
        return await registry(manifest, config, flood, challenge)(request)

    async with site(handle) as made:
        where.append(made.address)
        with pytest.raises((InvalidArgument, RuntimeFailure)):
            await pull(tmp_path, made.address)
        # What was on its way when the other side had enough is not counted too exactly.
        assert sum(sent) < 64 << 20
    stored = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in stored) == 0


async def test_digests_are_digests(tmp_path: Path) -> None:
    """Else they lead anywhere in the registry, and nothing is held against them."""
    manifest, config, blob = image()
    index = {"manifests": [{"digest": "other", "size": 1}]}
    document = json.loads(manifest)
    document["config"]["digest"] = "../../../secret"
    for body in (index, document):
        async with site(registry(json.dumps(body).encode(), config, whole(blob))) as made:
            with pytest.raises(InvalidArgument, match="is not a sha256 digest"):
                await pull(tmp_path, made.address)
            assert len(made.seen) == 1


async def test_a_document_of_brackets_is_an_error_and_no_crash(tmp_path: Path) -> None:
    async def nested(_: web.Request) -> web.Response:
        return web.Response(body=b'{"layers":' + b"[" * 1_000_000)

    async with site(nested) as made:
        with pytest.raises(InvalidArgument, match="malformed"):
            await pull(tmp_path, made.address)


async def test_a_manifest_may_not_promise_too_much(tmp_path: Path) -> None:
    _, config, blob = image()
    manifest, config = documents([blob])
    document = json.loads(manifest)
    document["layers"] = document["layers"] * 200
    async with site(registry(json.dumps(document).encode(), config, whole(blob))) as made:
        with pytest.raises(InvalidArgument, match="127 are the most"):
            await pull(tmp_path, made.address)
    document["layers"] = [{**document["layers"][0], "size": 1 << 50}]
    async with site(registry(json.dumps(document).encode(), config, whole(blob))) as made:
        with pytest.raises(InvalidArgument, match="are the most"):
            await pull(tmp_path, made.address)
        assert not any("blobs" in path for path, _ in made.seen)


HTTPS, PLAIN = "https://r.example/v2/x", "http://10.0.0.9:5000/v2/x"


@pytest.mark.parametrize(
    ("registry_url", "realm"),
    [
        (HTTPS, "https://auth.example/token"),
        (HTTPS, "https://r.example:8443/token"),
        (PLAIN, "http://10.0.0.9:5000/token"),
        (PLAIN, "https://auth.example/token"),
    ],
)
def test_realms_that_get_credentials(registry_url: str, realm: str) -> None:
    found = registry_auth.realm(f'Bearer realm="{realm}",scope="a",evil="b"', registry_url)
    assert found == (realm, {"scope": "a"})


@pytest.mark.parametrize(
    ("registry_url", "realm"),
    [
        (HTTPS, "http://r.example/token"),
        (HTTPS, "http://169.254.169.254/latest"),
        (HTTPS, "file:///etc/shadow"),
        (HTTPS, "//auth.example/token"),
        (HTTPS, "https://user:pw@auth.example/"),
        (HTTPS, "https://[oops/"),
        (HTTPS, "https://a:99999/"),
        (PLAIN, "http://10.0.0.9:5001/token"),
        (PLAIN, "http://10.0.0.8:5000/token"),
        (PLAIN, "http://127.0.0.1/token"),
    ],
)
def test_realms_that_get_nothing(registry_url: str, realm: str) -> None:
    with pytest.raises(InvalidArgument):
        registry_auth.realm(f'Bearer realm="{realm}"', registry_url)


def test_a_redirect_never_leaves_https() -> None:
    assert registry_auth.redirect(f"{HTTPS}/b", "/c", HTTPS) == "https://r.example/c"
    assert registry_auth.redirect(f"{HTTPS}/b", "https://cdn/x", HTTPS) == "https://cdn/x"
    assert registry_auth.redirect(f"{PLAIN}/b", "http://cdn/x", PLAIN) == "http://cdn/x"
    for location in ("http://cdn/x", "file:///x", "gopher://x"):
        with pytest.raises(InvalidArgument):
            registry_auth.redirect(f"{HTTPS}/b", location, HTTPS)


@pytest.mark.parametrize("answer", [None, [], {}, {"token": 5}, {"token": "a\r\nb"}, {"token": ""}])
def test_what_is_no_token(answer: object) -> None:
    with pytest.raises(InvalidArgument):
        registry_auth.token(answer)
