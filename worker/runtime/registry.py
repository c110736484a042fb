"""Pulls images from registries: the OCI distribution protocol's read half, over aiohttp."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp

from muster.component.version import architecture
from muster.cri import api_pb2 as cri
from worker.runtime import image_format, references
from worker.runtime.errors import InvalidArgument, NotFound, RuntimeFailure, Unavailable
from worker.runtime.image_format import Descriptor, Index, Manifest
from worker.runtime.images import ImageStore
from worker.runtime.records import ImageRecord
from worker.runtime.references import Reference

_ACCEPT = ", ".join(
    (
        image_format.OCI_INDEX, image_format.OCI_MANIFEST,
        image_format.DOCKER_INDEX, image_format.DOCKER_MANIFEST,
    )
)  # fmt: skip
_MAX_DOCUMENT = 8 << 20
_CHUNK = 1 << 20
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Puller:
    def __init__(self, scratch: Path, plain_http: frozenset[str] = frozenset()) -> None:
        self._scratch = scratch
        self._plain_http = plain_http

    async def pull(self, store: ImageStore, name: str, auth: cri.AuthConfig) -> ImageRecord:
        reference = references.parse(name)
        # A name under a reserved top-level domain is a lab's own: no registry can have it.
        if reference.registry.partition(":")[0].endswith((".local", ".invalid")):
            raise _absent(name)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http:
                return await _Pull(self._url(reference), reference, auth, http).run(
                    store, self._scratch
                )
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
        self, url: str, reference: Reference, auth: cri.AuthConfig, http: aiohttp.ClientSession
    ) -> None:
        self._url = url
        self._reference = reference
        self._auth = auth
        self._http = http
        self._headers: dict[str, str] = {}
        if auth.registry_token:
            self._headers["Authorization"] = f"Bearer {auth.registry_token}"

    async def run(self, store: ImageStore, scratch: Path) -> ImageRecord:
        manifest_bytes = await self._manifest(self._reference.digest or self._reference.tag)
        if image_format.is_index(manifest_bytes, ""):
            index: Index = image_format.decode(manifest_bytes, Index, "image index")
            chosen = image_format.choose(index.manifests, architecture())
            manifest_bytes = await self._manifest(chosen.digest)
        manifest: Manifest = image_format.decode(manifest_bytes, Manifest, "image manifest")
        config = await self._document(f"blobs/{manifest.config.digest}")
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="pull-") as directory:
            for layer in manifest.layers:
                await self._layer(layer, Path(directory))

            @contextmanager
            def open_layer(layer: Descriptor) -> Iterator[IO[bytes]]:
                with _layer_file(Path(directory), layer.digest).open("rb") as file:
                    yield file

            record, _ = await asyncio.to_thread(
                store.add, manifest_bytes, config, open_layer, str(self._reference)
            )
        return record

    async def _manifest(self, reference: str) -> bytes:
        content = await self._document(f"manifests/{reference}")
        if references.is_digest(reference) and image_format.digest_of(content) != reference:
            raise RuntimeFailure(f"the registry's answer does not have the digest {reference}")
        return content

    async def _document(self, path: str) -> bytes:
        async with await self._get(path) as response:
            content = await response.content.read(_MAX_DOCUMENT + 1)
            while chunk := await response.content.read(_MAX_DOCUMENT):
                content += chunk
                if len(content) > _MAX_DOCUMENT:
                    raise InvalidArgument(f"{path} is too large for a document")
            return content

    async def _layer(self, layer: Descriptor, directory: Path) -> None:
        if not references.is_digest(layer.digest):
            raise InvalidArgument(f'"{layer.digest}" is not a sha256 digest')
        digest = hashlib.sha256()
        async with await self._get(f"blobs/{layer.digest}") as response:
            with _layer_file(directory, layer.digest).open("wb") as file:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if f"sha256:{digest.hexdigest()}" != layer.digest:
            raise RuntimeFailure(f"layer {layer.digest} was damaged on its way")

    async def _get(self, path: str) -> aiohttp.ClientResponse:
        headers = {"Accept": _ACCEPT, **self._headers}
        response = await self._http.get(f"{self._url}/{path}", headers=headers)
        if response.status == 401 and "Authorization" not in self._headers:
            challenge = response.headers.get("WWW-Authenticate", "")
            response.release()
            self._headers["Authorization"] = await self._authorize(challenge)
            return await self._get(path)
        if response.status == 200:
            return response
        status = response.status
        response.release()
        if status == 404:
            raise NotFound(
                f'image "{self._reference}" is not in its registry; load it with '
                "`muster image load`"
            )
        if status in (401, 403):
            raise InvalidArgument(f'the registry refuses access to "{self._reference}"')
        raise Unavailable(f'pulling "{self._reference}": the registry answered {status}')

    async def _authorize(self, challenge: str) -> str:
        """Answer a 401: basic credentials, or a token from where the challenge points."""
        scheme, _, rest = challenge.partition(" ")
        basic = self._basic()
        if scheme.lower() == "basic" and basic:
            return basic
        fields = dict(_CHALLENGE.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise InvalidArgument(f'the registry refuses access to "{self._reference}"')
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        headers = {"Authorization": basic} if basic else {}
        async with self._http.get(fields["realm"], params=query, headers=headers) as response:
            if response.status != 200:
                raise InvalidArgument(f'no access token for "{self._reference}"')
            answer: dict[str, Any] = await response.json(content_type=None)
        return f"Bearer {answer.get('token') or answer.get('access_token')}"

    def _basic(self) -> str:
        if self._auth.auth:
            return f"Basic {self._auth.auth}"
        if not self._auth.username:
            return ""
        pair = f"{self._auth.username}:{self._auth.password}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _layer_file(directory: Path, digest: str) -> Path:
    return directory / digest.removeprefix("sha256:")
