"""The image store: documents by digest, layers unpacked once, one record per image.

    images/<config digest>.json   ImageRecord: names and layers
    blobs/sha256/<digest>         manifests and configs
    layers/<short digest>/        an unpacked layer, named by its uncompressed digest

A layer appears under its name only when it is whole and verified (rename), and an image's record
only after its layers, so a crash leaves nothing but garbage, which `collect` removes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import secrets
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import msgspec

from kube.component.log import get_logger
from kube.files import trees
from worker.runtime import documents, kernel
from worker.runtime.errors import InvalidArgument, NotFound
from worker.runtime.images import format as image_format
from worker.runtime.images import layers, limits, references
from worker.runtime.images.format import Config, Descriptor, Manifest
from worker.runtime.images.limits import Budget
from worker.runtime.oci.spec import ImageConfig
from worker.runtime.records import ImageRecord, LayerRecord

log = get_logger(__name__)
OpenLayer = Callable[[Descriptor], AbstractContextManager[IO[bytes]]]
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"
_GONE = ".gone-"


class _Hashing(io.RawIOBase):
    """A readable stream that hashes and counts what passes, and lets no more than `most` pass."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, most: int, what: str) -> None:
        self._stream, self._most, self._what = stream, most, what
        self._hash = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # only a BufferedReader calls it
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._hash.update(data)
        self.count += len(data)
        if self.count > self._most:
            raise InvalidArgument(f"{self._what} has more than {self._most} bytes")
        return len(data)

    def finish(self) -> str:
        """Read to the end; the digest of everything."""
        while self.read(1 << 20):
            pass
        return f"sha256:{self._hash.hexdigest()}"


class ImageStore:
    """Thread-safe; every method that changes something blocks, so callers use a thread.

    Unpacking holds only its own layer's lock: a large image keeps no other from being added,
    removed or looked at.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._records = root / "images"
        self._blobs = root / "blobs" / "sha256"
        self._layers = root / "layers"
        for directory in (self._records, self._blobs, self._layers):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._layer_locks: dict[str, threading.Lock] = {}
        # Layers that images have which are being added: nobody names them yet.
        self._incoming: Counter[str] = Counter()
        self._configs: dict[str, ImageConfig] = {}
        self._images = {
            record.id: record
            for path in sorted(self._records.glob("[!.]*.json"))
            if (record := documents.load(path, ImageRecord)) is not None
        }

    @property
    def root(self) -> Path:
        return self._root

    def list(self) -> tuple[ImageRecord, ...]:
        return tuple(self._images.values())

    def find(self, text: str) -> ImageRecord | None:
        """By id (with or without `sha256:`), by name and tag, or by name and digest."""
        digest = text if references.is_digest(text) else f"sha256:{text}"
        if digest in self._images:
            return self._images[digest]
        if references.is_digest(text):
            return next((i for i in self.list() if i.manifest_digest == text), None)
        reference = references.parse(text)
        if reference.digest:
            name = f"{reference.name}@{reference.digest}"
            return next((i for i in self.list() if name in i.digests), None)
        return next((i for i in self.list() if reference.tagged in i.tags), None)

    def get(self, text: str) -> ImageRecord:
        image = self.find(text)
        if image is None:
            raise NotFound(f'image "{text}" is not present; load it with `muster image load`')
        return image

    def run_config(self, image: ImageRecord) -> ImageConfig:
        """Read and decoded once: an image's config may be large, and never changes."""
        known = self._configs.get(image.id)
        if known is None:
            config: Config = image_format.decode(self._read_blob(image.id), Config, "image config")
            known = self._configs[image.id] = config.run_config()
        return known

    def layer_path(self, directory: str) -> Path:
        return self._layers / directory

    def add(
        self, manifest_bytes: bytes, config_bytes: bytes, open_layer: OpenLayer, name: str
    ) -> tuple[ImageRecord, bool]:
        """Store an image and give it `name` ("" for none). Returns it and whether that is news."""
        manifest: Manifest = image_format.decode(manifest_bytes, Manifest, "image manifest")
        config: Config = image_format.decode(config_bytes, Config, "image config")
        image_id = image_format.digest_of(config_bytes)
        if not (image_id == manifest.config.digest and len(config_bytes) == manifest.config.size):
            raise InvalidArgument(
                "image config does not have the digest and size that its manifest says"
            )
        if len(config.rootfs.diff_ids) != len(manifest.layers):
            raise InvalidArgument("image config and manifest differ in the number of layers")
        limits.check_manifest(manifest.layers)
        pairs = tuple(zip(manifest.layers, config.rootfs.diff_ids, strict=True))
        with self._expected({_directory(diff_id) for _, diff_id in pairs}):
            budget = Budget(self._layers, limits.compressed(manifest.layers))
            unpacked = tuple(self._unpack(*pair, open_layer, budget) for pair in pairs)
            with self._lock:
                self._write_blob(manifest_bytes)
                self._write_blob(config_bytes)
                self._configs[image_id] = config.run_config()
                record = self._images.get(image_id) or ImageRecord(
                    id=image_id,
                    manifest_digest=image_format.digest_of(manifest_bytes),
                    layers=unpacked,
                    size=len(config_bytes) + limits.compressed(manifest.layers),
                )
                return self._name(record, name)

    @contextmanager
    def _expected(self, directories: set[str]) -> Iterator[None]:
        """Layers that `collect` leaves alone during the block."""
        with self._lock:
            self._incoming.update(directories)
        try:
            yield
        finally:
            with self._lock:
                self._incoming.subtract(directories)
                self._incoming += Counter()  # drops what is at zero
                for directory in directories - set(self._incoming):
                    self._layer_locks.pop(directory, None)

    def _name(self, record: ImageRecord, name: str) -> tuple[ImageRecord, bool]:
        """Give the image a name, taking it from the image that had it."""
        named = record
        if name:
            reference = references.parse(name)
            digest = f"{reference.name}@{record.manifest_digest}"
            named = msgspec.structs.replace(
                record,
                tags=_with(record.tags, reference.tagged),
                digests=_with(record.digests, digest),
            )
            for other in self.list():
                if other.id != record.id and reference.tagged and reference.tagged in other.tags:
                    tags = tuple(tag for tag in other.tags if tag != reference.tagged)
                    self._save(msgspec.structs.replace(other, tags=tags))
        if self._images.get(record.id) == named:
            return named, False
        kernel.sync_filesystem(self._root)
        self._save(named)
        return named, True

    def remove(self, text: str) -> bool:
        """Forget the image with all its names; its layers go with `collect`. False: no such."""
        with self._lock:
            image = self.find(text)
            if image is None:
                return False
            self._record_path(image.id).unlink(missing_ok=True)
            del self._images[image.id]
            self._configs.pop(image.id, None)
            return True

    def collect(self, used_layers: Iterable[str]) -> None:
        """Remove layers and blobs that no image names and no container uses."""
        with self._lock:
            keep = set(used_layers) | set(self._incoming)
            blobs: set[str] = set()
            for image in self.list():
                keep.update(layer.directory for layer in image.layers)
                blobs |= {image.id, image.manifest_digest}
            # Out of the way first: the removal itself may take long, and nobody waits for it.
            doomed = [
                path.rename(self._layers / f"{_GONE}{secrets.token_hex(8)}")
                for path in self._layers.iterdir()
                if path.name not in keep and path.name.removeprefix(".") not in self._incoming
            ]
            for path in self._blobs.iterdir():
                if f"sha256:{path.name}" not in blobs:
                    path.unlink()
        for path in doomed:
            log.info("removing layer", layer=path.name)
            trees.remove(path)

    def _unpack(
        self, descriptor: Descriptor, diff_id: str, open_layer: OpenLayer, budget: Budget
    ) -> LayerRecord:
        if not references.is_digest(diff_id) or not references.is_digest(descriptor.digest):
            raise InvalidArgument(f'"{diff_id}" is not a sha256 digest')
        directory = _directory(diff_id)
        final, scratch = self._layers / directory, self._layers / f".{directory}"
        with self._lock:
            layer_lock = self._layer_locks.setdefault(directory, threading.Lock())
        with layer_lock:
            if not final.is_dir():
                trees.remove(scratch)
                scratch.mkdir(mode=0o755)
                try:
                    with open_layer(descriptor) as stream:
                        _unpack_verified(stream, descriptor, diff_id, scratch, budget)
                except BaseException:
                    trees.remove(scratch)
                    raise
                scratch.rename(final)
        return LayerRecord(directory=directory, diff_id=diff_id, size=descriptor.size)

    def _read_blob(self, digest: str) -> bytes:
        return (self._blobs / digest.removeprefix("sha256:")).read_bytes()

    def _write_blob(self, content: bytes) -> None:
        digest = image_format.digest_of(content)
        documents.replace_file(self._blobs / digest.removeprefix("sha256:"), content)

    def _save(self, image: ImageRecord) -> None:
        documents.save(self._record_path(image.id), image)
        self._images[image.id] = image

    def _record_path(self, image_id: str) -> Path:
        return self._records / f"{image_id.removeprefix('sha256:')}.json"


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if not name or name in names else (*names, name)


def _directory(diff_id: str) -> str:
    """Short, since all layer paths of an image must fit into one page of mount options."""
    return diff_id.removeprefix("sha256:")[:24]


def _unpack_verified(
    stream: IO[bytes], descriptor: Descriptor, diff_id: str, root: Path, budget: Budget
) -> None:
    """Unpack a plain or gzip layer and check both of its digests, and its size."""
    digest = descriptor.digest
    raw = _Hashing(stream, descriptor.size, f"layer {digest}")
    buffered = io.BufferedReader(raw, 1 << 20)  # type: ignore[type-var]  # readinto is enough
    magic = buffered.peek(4)[:4]
    if magic == _ZSTD_MAGIC:
        raise InvalidArgument("the image has zstd layers; only gzip and plain tar are understood")
    plain: IO[bytes] | gzip.GzipFile = buffered
    if magic[:2] == _GZIP_MAGIC:
        plain = gzip.GzipFile(fileobj=buffered)
    content = _Hashing(plain, budget.stream, f"what layer {digest} unpacks to")
    try:
        layers.unpack(io.BufferedReader(content, 1 << 20), root, budget)  # type: ignore[type-var]  # as above
        if content.finish() != diff_id:
            raise InvalidArgument(f"layer content does not have the digest {diff_id}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgument(f"layer {digest} is damaged: {error}") from error
    while buffered.read(1 << 20):
        pass
    if raw.finish() != digest:
        raise InvalidArgument(f"layer does not have the digest {digest}")
    if raw.count != descriptor.size:
        raise InvalidArgument(f"layer {digest} has {raw.count} bytes, not {descriptor.size}")
