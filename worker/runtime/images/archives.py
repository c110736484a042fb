"""Loads images from tar archives: OCI layouts, and what `docker save` writes.

For a docker archive the OCI manifest is made here, so that both end in the same store.
"""

from __future__ import annotations

import json
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec

from kube.component.version import architecture
from worker.runtime.errors import InvalidArgument, NotFound
from worker.runtime.images import format as image_format
from worker.runtime.images import limits
from worker.runtime.images.format import Config, Descriptor, Index, Manifest
from worker.runtime.images.store import ImageStore
from worker.runtime.images.tarstream import BoundedTarInfo, is_sparse
from worker.runtime.records import ImageRecord

# Entries of an archive: a few for each layer of an image.
_MAX_MEMBERS = 100_000

# What Python's readers of archives raise besides: numbers, names and nesting that cannot be.
_UNREADABLE = (ValueError, KeyError, OverflowError, RecursionError, zlib.error, lzma.LZMAError)


class Archive:
    """Random access to the members of an archive."""

    def __init__(self, tar: tarfile.TarFile, name: str) -> None:
        self._tar = tar
        self._name = name
        self._members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(tar):
            if number >= _MAX_MEMBERS or member.offset_data + member.size > limits.ARCHIVE:
                raise InvalidArgument(f"{name}: the archive is too large")
            if is_sparse(member):
                raise InvalidArgument(f'{name}: "{member.name}" is a sparse file')
            if member.isfile() or member.issym():
                self._members[posixpath.normpath(member.name)] = member

    def __contains__(self, path: str) -> bool:
        return path in self._members

    def size(self, path: str) -> int:
        return self._member(path).size

    def document(self, path: str) -> bytes:
        if self.size(path) > limits.DOCUMENT:
            raise InvalidArgument(f'{self._name}: "{path}" is too large for a document')
        with self.stream(path) as stream:
            return stream.read()

    def blob(self, digest: str) -> bytes:
        content = self.document(_blob_path(digest))
        if image_format.digest_of(content) != digest:
            raise InvalidArgument(f"{self._name}: blob {digest} is damaged")
        return content

    @contextmanager
    def stream(self, path: str) -> Iterator[IO[bytes]]:
        file = self._tar.extractfile(self._member(path))
        if file is None:
            raise InvalidArgument(f'{self._name}: "{path}" is not a file')
        with file:
            yield file

    def _member(self, path: str) -> tarfile.TarInfo:
        try:
            return self._members[posixpath.normpath(path)]
        except KeyError:
            raise InvalidArgument(f'{self._name}: no "{path}" in the archive') from None


def load(store: ImageStore, path: Path) -> list[tuple[ImageRecord, bool]]:
    """Load every image of the archive; returns them and whether each is news."""
    try:
        with tarfile.open(path, tarinfo=BoundedTarInfo) as tar:
            archive = Archive(tar, path.name)
            if "index.json" in archive:
                return _load_oci(store, archive)
            if "manifest.json" in archive:
                return _load_docker(store, archive)
    except FileNotFoundError as error:
        raise NotFound(f'no archive "{path}"') from error
    except (tarfile.TarError, EOFError, IsADirectoryError, *_UNREADABLE) as error:
        raise InvalidArgument(f"{path}: not a readable tar archive: {error}") from error
    raise InvalidArgument(f"{path}: neither an OCI layout nor a docker archive")


def _load_oci(store: ImageStore, archive: Archive) -> list[tuple[ImageRecord, bool]]:
    index: Index = image_format.decode(archive.document("index.json"), Index, "index.json")
    result = []
    for entry in index.manifests:
        name = image_format.name_of(entry)
        content = archive.blob(entry.digest)
        if image_format.is_index(content, entry.media_type):
            inner: Index = image_format.decode(content, Index, "image index")
            content = archive.blob(image_format.choose(inner.manifests, architecture()).digest)
        manifest: Manifest = image_format.decode(content, Manifest, "image manifest")
        config = archive.blob(manifest.config.digest)
        result.append(
            store.add(content, config, lambda d: archive.stream(_blob_path(d.digest)), name)
        )
    return result


def _load_docker(store: ImageStore, archive: Archive) -> list[tuple[ImageRecord, bool]]:
    entries: list[dict[str, Any]] = image_format.decode(
        archive.document("manifest.json"), list[dict[str, Any]], "manifest.json"
    )
    result = []
    for entry in entries:
        config_bytes = archive.document(entry["Config"])
        config: Config = image_format.decode(config_bytes, Config, "image config")
        # docker save stores layers as plain tar: the digest of a blob is its diff id.
        paths = dict(zip(config.rootfs.diff_ids, entry["Layers"], strict=True))
        manifest = _manifest(config_bytes, config, {d: archive.size(p) for d, p in paths.items()})
        for name in entry.get("RepoTags") or [""]:
            result.append(
                store.add(manifest, config_bytes, partial(_docker_layer, archive, paths), name)
            )
    return result


def _docker_layer(
    archive: Archive, paths: dict[str, str], layer: Descriptor
) -> AbstractContextManager[IO[bytes]]:
    return archive.stream(paths[layer.digest])


def _manifest(config_bytes: bytes, config: Config, sizes: dict[str, int]) -> bytes:
    manifest = {
        "schemaVersion": 2,
        "mediaType": image_format.OCI_MANIFEST,
        "config": msgspec.to_builtins(
            Descriptor(
                digest=image_format.digest_of(config_bytes),
                size=len(config_bytes),
                media_type="application/vnd.oci.image.config.v1+json",
            )
        ),
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": diff_id,
                "size": sizes[diff_id],
            }
            for diff_id in config.rootfs.diff_ids
        ],
    }
    return json.dumps(manifest, sort_keys=True).encode()


def _blob_path(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"
