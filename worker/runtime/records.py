"""What is kept on disk of sandboxes, containers and images: one JSON document each.

Written whole and renamed into place, so that a reader finds the old or the new one. The CRI
config travels inside as its protobuf bytes.
"""

from __future__ import annotations

import msgspec


class SandboxRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    # The PodSandboxConfig, serialized.
    config: bytes
    created_at: int
    runtime_handler: str = ""
    # False until the sandbox is whole; such a one found at start is taken down.
    complete: bool = False
    stopped: bool = False
    ips: tuple[str, ...] = ()


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    sandbox_id: str
    # The ContainerConfig, serialized.
    config: bytes
    image_id: str
    image_ref: str
    # Directory names of the unpacked layers, base first.
    layers: tuple[str, ...]
    created_at: int
    cgroups_path: str
    log_path: str
    stop_signal: str = "SIGTERM"
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    complete: bool = False
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One unpacked layer: its directory's name, and what identifies it."""

    directory: str
    diff_id: str
    size: int


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    # The digest of the image's config: what CRI calls the image's id.
    id: str
    manifest_digest: str
    layers: tuple[LayerRecord, ...]
    size: int
    # Full names with tag, and names with digest.
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
