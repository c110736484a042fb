"""Pulls images from registries: the OCI distribution protocol's read half, over aiohttp.

A registry may answer anything, for as long as it likes: documents and layers are read to their
bounds, redirects are followed by hand, and what is sent where is decided in `registry_auth`.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp

from kube.component.version import architecture
from kube.files.threads import FileThreads
from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import InvalidArgument, NotFound, RuntimeFailure, Unavailable
from worker.runtime.images import format as image_format
from worker.runtime.images import limits, references, registry_auth
from worker.runtime.images.format import Descriptor, Index, Manifest
from worker.runtime.images.references import Reference
from worker.runtime.images.store import ImageStore
from worker.runtime.records import ImageRecord

_ACCEPT = ", ".join(
    (
        image_format.OCI_INDEX, image_format.OCI_MANIFEST,
        image_format.DOCKER_INDEX, image_format.DOCKER_MANIFEST,
    )
)  # fmt: skip
_MAX_TOKEN_ANSWER = 1 << 20
_MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 20


class Puller:
    def __init__(self, scratch: Path, plain_http: frozenset[str] = frozenset()) -> None:
        self._scratch = scratch
        self._plain_http = plain_http
        # Unpacking may take long; what others download is written meanwhile.
        self._threads = FileThreads("pulls", 3)
        self._writes = FileThreads("downloads", 2)

    async def clean(self) -> None:
        """Remove what a runtime that was killed had downloaded."""
        await self._writes.remove_tree(self._scratch)

    async def pull(self, store: ImageStore, name: str, auth: cri.AuthConfig) -> ImageRecord:
        reference = references.parse(name)
        # A name under a reserved top-level domain is a lab's own: no registry can have it.
        if reference.registry.partition(":")[0].endswith((".local", ".invalid")):
            raise _absent(name)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        try:
            # Digests are of what travels: nothing is to be unpacked on the way.
            async with aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as http:
                url = self._url(reference)
                pull = _Pull(url, reference, auth, http, self._threads, self._writes)
                return await pull.run(store, self._scratch)
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f'image "{name}" is not present and its registry cannot be reached '
                f"({error}); load it with `muster image load`"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f'pulling "{name}" failed: {error!r}') from error

    def _url(self, reference: Reference) -> str:
        """Plain HTTP only on the loopback and where the operator allowed it."""
        registry = reference.registry
        if registry == references.DEFAULT_REGISTRY:
            registry = "registry-1.docker.io"
        plain = registry in self._plain_http or is_loopback(registry)
        return f"{'http' if plain else 'https'}://{registry}/v2/{reference.repository}"


def is_loopback(registry: str) -> bool:
    host = registry.rsplit(":", 1)[0] if not registry.endswith("]") else registry
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _absent(name: str) -> NotFound:
    return NotFound(f'image "{name}" is not present; load it with `muster image load`')


class _Pull:
    """One pull: the manifest, then what the store does not have yet."""

    def __init__(
        self,
        url: str,
        reference: Reference,
        auth: cri.AuthConfig,
        http: aiohttp.ClientSession,
        threads: FileThreads,
        writes: FileThreads,
    ) -> None:
        self._url = url
        self._reference = reference
        self._auth = auth
        self._http = http
        self._threads, self._writes = threads, writes
        self._authorization = f"Bearer {auth.registry_token}" if auth.registry_token else ""

    async def run(self, store: ImageStore, scratch: Path) -> ImageRecord:
        manifest_bytes = await self._manifest(self._reference.digest or self._reference.tag)
        if image_format.is_index(manifest_bytes, ""):
            index: Index = image_format.decode(manifest_bytes, Index, "image index")
            chosen = image_format.choose(index.manifests, architecture())
            manifest_bytes = await self._manifest(_checked(chosen.digest))
        manifest: Manifest = image_format.decode(manifest_bytes, Manifest, "image manifest")
        limits.check_manifest(manifest.layers)
        config = await self._document(f"blobs/{_checked(manifest.config.digest)}")
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = Path(tempfile.mkdtemp(dir=scratch, prefix="pull-"))
        try:
            await self._layers(manifest.layers, directory)

            @contextmanager
            def open_layer(layer: Descriptor) -> Iterator[IO[bytes]]:
                with _layer_file(directory, layer.digest).open("rb") as file:
                    yield file

            record, _ = await self._threads.run(
                store.add, manifest_bytes, config, open_layer, str(self._reference)
            )
        finally:
            await self._writes.remove_tree(directory)
        return record

    async def _layers(self, layers: tuple[Descriptor, ...], directory: Path) -> None:
        budget = limits.Budget(directory, limits.compressed(layers))
        for layer in layers:
            budget.check_disk(layer.size)
            await self._layer(layer, directory)

    async def _manifest(self, reference: str) -> bytes:
        content = await self._document(f"manifests/{reference}")
        if references.is_digest(reference) and image_format.digest_of(content) != reference:
            raise RuntimeFailure(f"the registry's answer does not have the digest {reference}")
        return content

    async def _document(self, path: str) -> bytes:
        async with await self._get(path) as response:
            return await _read(response, limits.DOCUMENT, path)

    async def _layer(self, layer: Descriptor, directory: Path) -> None:
        _checked(layer.digest)
        digest, left = hashlib.sha256(), layer.size
        async with await self._get(f"blobs/{layer.digest}") as response:
            with _layer_file(directory, layer.digest).open("wb") as file:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise RuntimeFailure(
                            f"layer {layer.digest} is larger than its manifest says"
                        )
                    await self._writes.run(_keep, chunk, file, digest)
        if left or f"sha256:{digest.hexdigest()}" != layer.digest:
            raise RuntimeFailure(f"layer {layer.digest} was damaged on its way")

    async def _get(self, path: str) -> aiohttp.ClientResponse:
        response = await self._follow(f"{self._url}/{path}")
        if response.status == 401 and not self._authorization:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            self._authorization = await self._authorize(challenge)
            response = await self._follow(f"{self._url}/{path}")
        if response.status == 200:
            return response
        status = response.status
        response.close()
        if status == 404:
            raise NotFound(
                f'image "{self._reference}" is not in its registry; load it with '
                "`muster image load`"
            )
        if status in (401, 403):
            raise InvalidArgument(f'the registry refuses access to "{self._reference}"')
        raise Unavailable(f'pulling "{self._reference}": the registry answered {status}')

    async def _follow(self, url: str) -> aiohttp.ClientResponse:
        """GET, and again where a redirect leads: without our authorization on another host."""
        own = registry_auth.origin(self._url)
        for _ in range(_MAX_REDIRECTS):
            headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
            if self._authorization and registry_auth.origin(url) == own:
                headers["Authorization"] = self._authorization
            response = await self._http.get(url, headers=headers, allow_redirects=False)
            if response.status not in _REDIRECTS:
                return response
            location = response.headers.get("Location", "")
            response.close()
            url = registry_auth.redirect(url, location, self._url)
        raise InvalidArgument(f'"{self._reference}": the registry redirects without end')

    async def _authorize(self, challenge: str) -> str:
        """Answer a 401: basic credentials, or a token from where the challenge points."""
        basic = self._basic()
        if challenge.partition(" ")[0].lower() == "basic" and basic:
            return basic
        asked = registry_auth.realm(challenge, self._url)
        if asked is None:
            raise InvalidArgument(f'the registry refuses access to "{self._reference}"')
        realm, query = asked
        headers = {"Accept-Encoding": "identity"}
        if basic:
            headers["Authorization"] = basic
        async with self._http.get(
            realm, params=query, headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise InvalidArgument(f'no access token for "{self._reference}"')
            content = await _read(response, _MAX_TOKEN_ANSWER, "the token server's answer")
        answer = image_format.decode(content, dict[str, Any], "the token server's answer")
        return f"Bearer {registry_auth.token(answer)}"

    def _basic(self) -> str:
        if self._auth.auth:
            return f"Basic {self._auth.auth}"
        if not self._auth.username:
            return ""
        pair = f"{self._auth.username}:{self._auth.password}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


async def _read(response: aiohttp.ClientResponse, most: int, what: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        content += chunk
        if len(content) > most:
            raise InvalidArgument(f"{what} is too large for a document")
    return bytes(content)


def _checked(digest: str) -> str:
    """A digest from a document: a part of a URL, and what the answer is then held against."""
    if not references.is_digest(digest):
        raise InvalidArgument(f'"{digest}" is not a sha256 digest')
    return digest


def _keep(chunk: bytes, file: IO[bytes], digest: Any) -> None:
    digest.update(chunk)
    file.write(chunk)


def _layer_file(directory: Path, digest: str) -> Path:
    return directory / digest.removeprefix("sha256:")
