"""Images that attack who unpacks them, as OCI archives and as blobs of a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Blob:
    """A layer as it travels, and the digest of what it unpacks to."""

    content: bytes
    diff_id: str
    size: int = field(default=-1)  # what the manifest says

    def __post_init__(self) -> None:
        self.size = len(self.content) if self.size < 0 else self.size


def plain(content: bytes) -> Blob:
    return Blob(content, digest_of(content))


def repeated(head: bytes, block: bytes, times: int, tail: bytes = b"") -> Blob:
    """A gzip layer of `head`, `block` so many times, and `tail`, without ever holding all of it:
    a gzip file may have many members."""
    member, plain_digest = gzip.compress(block, 9), hashlib.sha256(head)
    for _ in range(times):
        plain_digest.update(block)
    plain_digest.update(tail)
    content = gzip.compress(head) + member * times + gzip.compress(tail)
    return Blob(content, f"sha256:{plain_digest.hexdigest()}")


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def entries(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def sparse(directory: Path, size: int, *format_flags: str) -> bytes:
    """What GNU tar makes of a file that is one hole: ten kilobytes, whatever the hole."""
    (directory / "hole").touch()
    with (directory / "hole").open("r+b") as file:
        file.truncate(size)
    command = ["tar", "--create", "--sparse", *format_flags, "--directory", str(directory), "hole"]
    made = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert len(made) < 20_000
    return made


def documents(layers: Iterable[Blob], **config: Any) -> tuple[bytes, bytes]:
    """Manifest and config."""
    blobs = list(layers)
    config_bytes = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["true"]} | config,
            "rootfs": {"type": "layers", "diff_ids": [b.diff_id for b in blobs]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": CONFIG_TYPE,
            "digest": digest_of(config_bytes),
            "size": len(config_bytes),
        },
        "layers": [
            {"mediaType": LAYER_TYPE, "digest": digest_of(b.content), "size": b.size} for b in blobs
        ],
    }
    return json.dumps(manifest).encode(), config_bytes


def archive(path: Path, name: str, *layers: Blob, **config: Any) -> Path:
    """An OCI layout in a tar file, as `load` takes it."""
    manifest, config_bytes = documents(layers, **config)
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": MANIFEST_TYPE,
                "digest": digest_of(manifest),
                "size": len(manifest),
                "annotations": {"io.containerd.image.name": name},
            }
        ],
    }
    with tarfile.open(path, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in (manifest, config_bytes, *(layer.content for layer in layers)):
            _add(tar, "blobs/" + digest_of(blob).replace(":", "/"), blob)
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
