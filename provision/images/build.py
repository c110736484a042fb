"""Reads this machine's busybox and tini and writes the image archives."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kube.component.version import architecture
from provision.images import catalog, layout

BUSYBOX = Path("/bin/busybox")
TINI = Path("/usr/bin/tini-static")
Progress = Callable[[str], None]


class ImageBuildError(Exception):
    """A binary that the images need is not usable; the message names the package."""


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """One built image: its name, where its archive is, the digest of its manifest."""

    name: str
    path: Path
    digest: str


def build_all(out_dir: Path, progress: Progress = lambda _: None) -> list[ImageArchive]:
    """Build every image of the catalogue into `out_dir`; archives that are right already stay."""
    busybox = _static_binary(BUSYBOX, "busybox-static")
    tini = TINI.read_bytes() if TINI.exists() else None
    base = catalog.base_layer(busybox, _applets(), tini)
    out_dir.mkdir(parents=True, exist_ok=True)
    return [
        _write(out_dir, image, progress)
        for image in catalog.images(base, has_tini=tini is not None)
    ]


def _write(out_dir: Path, image: layout.Image, progress: Progress) -> ImageArchive:
    content, digest = layout.archive(image, architecture())
    path = out_dir / f"{image.name.rpartition('/')[2].replace(':', '-')}.tar"
    if not path.exists() or path.read_bytes() != content:
        progress(f"building image {image.name}")
        scratch = path.with_suffix(".new")
        scratch.write_bytes(content)
        scratch.rename(path)
    return ImageArchive(image.name, path, digest)


def _static_binary(path: Path, package: str) -> bytes:
    """The content of a binary that runs without any library."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ImageBuildError(f"{path} is missing: apt-get install {package}") from error
    # A dynamically linked executable names its loader; in the image there would be none.
    if b"/ld-linux" in content[:4096]:
        raise ImageBuildError(f"{path} is not static: apt-get install {package}")
    return content


def _applets() -> list[str]:
    done = subprocess.run([str(BUSYBOX), "--list"], check=True, capture_output=True, text=True)
    return sorted(set(done.stdout.split()))
