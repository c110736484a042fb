"""How much an image may cost: what is promised by its manifest, and what it then really unpacks to.

Far above what images are, far below what would fill a machine unnoticed. The disk's last part is
kept free too, whatever the image.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.runtime.errors import InvalidArgument
from worker.runtime.images.format import Descriptor

MiB, GiB = 1 << 20, 1 << 30
# Of a manifest or a config, as registries take them (distribution-spec).
DOCUMENT = 4 * MiB
# As many as other runtimes take; mount(2)'s page of options holds no more anyway.
LAYERS = 127
# An archive of images, unpacked.
ARCHIVE = 64 * GiB
_CHECK_DISK_EVERY = 64 * MiB


@dataclass(frozen=True, slots=True)
class ImageLimits:
    compressed: int = 16 * GiB
    unpacked: int = 32 * GiB
    # Layers shrink to a tenth, seldom to a fiftieth; a bomb unpacks to a thousand times its size.
    ratio: int = 200
    ratio_free: int = GiB
    entries: int = 2_000_000
    seconds: float = 1800.0
    # Of the disk: a twentieth, but no more than this.
    keep_free: int = GiB


DEFAULT = ImageLimits()


def check_manifest(layers: tuple[Descriptor, ...], limits: ImageLimits = DEFAULT) -> None:
    """What can be known before anything is fetched."""
    if len(layers) > LAYERS:
        raise InvalidArgument(f"the image has {len(layers)} layers; {LAYERS} are the most")
    if any(layer.size <= 0 for layer in layers):
        raise InvalidArgument("the image's manifest does not say how large its layers are")
    if compressed(layers) > limits.compressed:
        raise InvalidArgument(
            f"the image's layers have {compressed(layers)} bytes; {limits.compressed} are the most"
        )


def compressed(layers: Iterable[Descriptor]) -> int:
    return sum(layer.size for layer in layers)


class Budget:
    """What is left for one image while it is unpacked. Every method raises when it is used up."""

    def __init__(self, root: Path, compressed: int, limits: ImageLimits = DEFAULT) -> None:
        self._root, self._limits = root, limits
        self._most = min(limits.unpacked, limits.ratio_free + limits.ratio * compressed)
        self._bytes, self._entries = self._most, limits.entries
        self._deadline = time.monotonic() + limits.seconds
        self._unchecked = 0
        self.check_disk()

    @property
    def stream(self) -> int:
        """The most that a layer's tar stream may have, headers and padding included."""
        return self._bytes + 2 * 1024 * self._entries

    def entry(self) -> None:
        self._entries -= 1
        if self._entries < 0:
            raise InvalidArgument(f"the image has more than {self._limits.entries} files")
        if time.monotonic() > self._deadline:
            raise InvalidArgument(
                f"the image took more than {self._limits.seconds:.0f} s to unpack"
            )

    def need(self, number: int) -> None:
        """Whether there is room for a file, before the first byte of it is written."""
        if number > self._bytes:
            raise InvalidArgument(f"the image unpacks to more than {self._most} bytes")

    def spend(self, number: int) -> None:
        self.need(number)
        self._bytes -= number
        self._unchecked += number
        if self._unchecked >= _CHECK_DISK_EVERY:
            self._unchecked = 0
            self.check_disk()

    def check_disk(self, wanted: int = 0) -> None:
        disk = os.statvfs(self._root)
        reserve = min(self._limits.keep_free, disk.f_blocks * disk.f_frsize // 20)
        if disk.f_bavail * disk.f_frsize - wanted < reserve:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._root))
