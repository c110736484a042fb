"""OCI image manifests, indexes and configs (image-spec 1.0) as values. Pure.

Docker's schema 2 documents have the same shape and are taken as well.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from worker.runtime.errors import InvalidArgument
from worker.runtime.oci.spec import ImageConfig

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX_TYPES = (OCI_INDEX, DOCKER_INDEX)
# Where archives keep an image's name: containerd's key is a full name, OCI's may be only a tag.
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    digest: str
    size: int = 0
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    manifests: tuple[Descriptor, ...]
    media_type: str = ""


class _Shape(msgspec.Struct, frozen=True):
    """Just enough to tell an index from a manifest, without reading either."""

    manifests: msgspec.Raw = msgspec.Raw(b"")


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""


class _RunConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None
    stop_signal: str | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    rootfs: _RootFs
    config: _RunConfig | None = None
    architecture: str = ""

    def run_config(self) -> ImageConfig:
        c = self.config or _RunConfig()
        return ImageConfig(
            entrypoint=c.entrypoint or (),
            cmd=c.cmd or (),
            env=c.env or (),
            working_dir=c.working_dir or "",
            user=c.user or "",
            stop_signal=c.stop_signal or "",
        )


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def decode(content: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InvalidArgument(f"{what} is malformed: {error}") from error


def is_index(content: bytes, media_type: str) -> bool:
    """By media type, or by shape where a registry or an archive gives none."""
    if media_type:
        return media_type in INDEX_TYPES
    return bool(bytes(decode(content, _Shape, "image document").manifests))


def choose(manifests: tuple[Descriptor, ...], architecture: str) -> Descriptor:
    """The manifest for this machine out of a multi-platform index."""
    for descriptor in manifests:
        p = descriptor.platform
        if p is None or (p.os in ("", "linux") and p.architecture in ("", architecture)):
            return descriptor
    raise InvalidArgument(f"the image has no variant for linux/{architecture}")


def name_of(descriptor: Descriptor) -> str:
    """The image name that an archive's index gives this manifest; "" when it gives none.

    A bare tag (the OCI meaning of ref.name) is no name.
    """
    for key in NAME_ANNOTATIONS:
        name = descriptor.annotations.get(key, "")
        if "/" in name or ":" in name:
            return name
    return ""
