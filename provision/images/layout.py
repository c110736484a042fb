"""Files to layers, layers to an OCI image archive (image-spec 1.0). Pure and reproducible.

Nothing here depends on the clock, on who runs it, or on the order of a dictionary: the same
inputs give the same digests, everywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class File:
    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Directory:
    path: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    path: str
    target: str


Entry = File | Directory | Symlink


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is: its name, its layers (base first) and how its containers run."""

    name: str
    layers: tuple[bytes, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)


def layer(entries: Iterable[Entry]) -> bytes:
    """A plain tar of the entries, sorted, owned by root, dated 1970."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in sorted(entries, key=lambda e: e.path):
            info = tarfile.TarInfo(entry.path)
            content = b""
            if isinstance(entry, File):
                content, info.mode = entry.content, entry.mode
                info.size = len(content)
            elif isinstance(entry, Directory):
                info.type, info.mode = tarfile.DIRTYPE, entry.mode
            else:
                info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, entry.target
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def archive(image: Image, architecture: str) -> tuple[bytes, str]:
    """The OCI layout of one image as a tar, and the digest of its manifest."""
    config = _document(_config(image, architecture))
    manifest = _document(_manifest(image, config))
    index = _document(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [
                _descriptor(MANIFEST_TYPE, manifest)
                | {
                    "annotations": {
                        # containerd's key holds the full name, OCI's the reference.
                        "io.containerd.image.name": image.name,
                        "org.opencontainers.image.ref.name": image.name,
                    },
                    "platform": {"architecture": architecture, "os": "linux"},
                }
            ],
        }
    )
    blobs = {_blob_path(blob): blob for blob in (*image.layers, config, manifest)}
    files: list[Entry] = [
        File("oci-layout", _document({"imageLayoutVersion": "1.0.0"})),
        File("index.json", index),
        *(File(path, content) for path, content in blobs.items()),
    ]
    return layer(files), digest(manifest)


def _config(image: Image, architecture: str) -> dict[str, Any]:
    run: dict[str, Any] = {"WorkingDir": image.working_dir}
    if image.entrypoint:
        run["Entrypoint"] = list(image.entrypoint)
    if image.cmd:
        run["Cmd"] = list(image.cmd)
    if image.env:
        run["Env"] = list(image.env)
    if image.labels:
        run["Labels"] = dict(sorted(image.labels.items()))
    return {
        "created": EPOCH,
        "architecture": architecture,
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [digest(blob) for blob in image.layers]},
        "history": [{"created": EPOCH} for _ in image.layers],
    }


def _manifest(image: Image, config: bytes) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(CONFIG_TYPE, config),
        "layers": [_descriptor(LAYER_TYPE, blob) for blob in image.layers],
    }


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def _document(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _blob_path(content: bytes) -> str:
    return "blobs/" + digest(content).replace(":", "/")
