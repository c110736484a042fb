"""Unpacks an image layer: a tar stream into a directory that overlayfs can take as a layer.

The stream is not trusted. Every path is resolved inside the directory (symbolic links as if it
were the root, as runtimes do), so that nothing is written outside. Whiteouts of the image format
(`.wh.NAME`, `.wh..wh..opq`) become overlayfs' own (a 0:0 character device, an xattr).
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import stat
import tarfile
from pathlib import Path
from typing import IO

from worker.runtime.errors import InvalidArgument

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
_MAX_LINKS = 255


def resolve(root: Path, name: str) -> Path:
    """Where `name` is below `root`, following links in all components, never leaving `root`.

    Components that do not exist yet are taken as they are.
    """
    pending = [part for part in name.split("/") if part not in ("", ".")]
    current: list[str] = []
    links = 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            current = current[:-1]
            continue
        candidate = root.joinpath(*current, part)
        if candidate.is_symlink():
            links += 1
            if links > _MAX_LINKS:
                raise InvalidArgument(f"too many symbolic links in {name}")
            target = str(candidate.readlink())
            if target.startswith("/"):
                current = []
            pending = [p for p in target.split("/") if p not in ("", ".")] + pending
            continue
        current.append(part)
    return root.joinpath(*current)


def unpack(stream: IO[bytes], root: Path) -> int:
    """Unpack an uncompressed tar stream into the empty directory `root`; returns the bytes."""
    size = 0
    directories: list[tuple[Path, int]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                path = _target(root, member.name)
                if path is None or _whiteout(path):
                    continue
                size += _write(tar, member, path, root)
                if member.isdir():
                    directories.append((path, int(member.mtime)))
    except tarfile.TarError as error:
        raise InvalidArgument(f"layer is not a tar archive: {error}") from error
    # Directory times last: creating entries changed them.
    for path, mtime in reversed(directories):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (mtime, mtime), follow_symlinks=False)
    return size


def _target(root: Path, name: str) -> Path | None:
    """The path of an entry: its parent resolved inside `root` and made, its last part as it is."""
    clean = posixpath.normpath("/" + name)
    if ".." in name.split("/"):
        raise InvalidArgument(f'layer entry "{name}" points outside of the layer')
    if clean == "/":
        return None
    parent = resolve(root, posixpath.dirname(clean))
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return parent / posixpath.basename(clean)


def _whiteout(path: Path) -> bool:
    """Translate a whiteout entry; False when `path` is an ordinary entry."""
    if path.name == OPAQUE_MARKER:
        os.setxattr(path.parent, "trusted.overlay.opaque", b"y")
        return True
    if not path.name.startswith(WHITEOUT_PREFIX):
        return False
    hidden = path.with_name(path.name.removeprefix(WHITEOUT_PREFIX))
    if hidden.name in ("", ".", ".."):
        raise InvalidArgument(f'layer has a malformed whiteout "{path.name}"')
    _make_way(hidden)
    os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))
    return True


def _make_way(path: Path) -> None:
    """Remove what an earlier entry left at `path`: the last one counts."""
    if path.is_symlink() or path.exists():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> int:
    if member.isdir():
        if path.is_symlink() or not path.is_dir():
            _make_way(path)
            path.mkdir()
    else:
        _make_way(path)
        _write_node(tar, member, path, root)
    if not member.islnk():
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if not member.issym():
            path.chmod(member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            if key.startswith("SCHILY.xattr."):
                _set_xattr(path, key.removeprefix("SCHILY.xattr."), value)
        if not member.isdir():
            os.utime(path, (int(member.mtime), int(member.mtime)), follow_symlinks=False)
    return member.size if member.isreg() else 0


def _write_node(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    if member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        with path.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        # A hard link names another entry of the layer; its own last part is not followed.
        source_path = resolve(root, posixpath.dirname("/" + member.linkname))
        source_path /= posixpath.basename(member.linkname)
        if not source_path.is_symlink() and not source_path.is_file():
            raise InvalidArgument(
                f'layer entry "{member.name}" links to "{member.linkname}", which is not there'
            )
        os.link(source_path, path, follow_symlinks=False)
    elif member.isfifo():
        os.mkfifo(path)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(path, kind | 0o600, os.makedev(member.devmajor, member.devminor))
    else:
        raise InvalidArgument(f'layer entry "{member.name}" has an unknown type')


def _set_xattr(path: Path, name: str, value: str) -> None:
    # overlayfs' own attributes are ours to set; an image must not smuggle them in.
    if name.startswith("trusted."):
        return
    with contextlib.suppress(OSError):
        os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
