"""Unpacks an image layer: a tar stream into a directory that overlayfs can take as a layer.

The stream is not trusted. Every path is resolved inside the directory (symbolic links as if it
were the root, as runtimes do) to a descriptor, so nothing is written outside; what it costs is
counted while it is written (`limits.Budget`). Whiteouts of the image format (`.wh.NAME`,
`.wh..wh..opq`) become overlayfs' own (a 0:0 character device, an xattr).
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import tarfile
from pathlib import Path
from typing import IO

from kube.files import beneath, trees
from worker.runtime.errors import InvalidArgument
from worker.runtime.images.limits import Budget
from worker.runtime.images.tarstream import TarStream

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
_MAX_LINKS = 40
_MAX_PATH = 4096
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def unpack(stream: IO[bytes], root: Path, budget: Budget) -> None:
    """Unpack an uncompressed tar stream into the empty directory `root`."""
    with beneath.directory(root) as handle:
        unpacker = _Unpacker(handle, root, budget)
        try:
            with TarStream(stream) as tar:
                while (member := tar.next()) is not None:
                    budget.entry()
                    unpacker.add(tar, member)
            unpacker.set_times()
        except (tarfile.TarError, EOFError) as error:
            raise InvalidArgument(f"layer is not a tar archive: {error}") from error
        except (ValueError, OverflowError, RecursionError) as error:
            # A number that the kernel cannot take, a name with a NUL, headers within headers.
            raise InvalidArgument(f"layer has an entry that cannot be: {error}") from error
        finally:
            unpacker.close()


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


class _Unpacker:
    """Writes entries below one directory. Nobody else writes there meanwhile."""

    def __init__(self, root: int, path: Path, budget: Budget) -> None:
        self._root, self._path, self._budget = root, path, budget
        self._directory, self._handle = "", os.dup(root)  # where the last entry went
        self._times: list[tuple[str, int]] = []

    def close(self) -> None:
        os.close(self._handle)

    def add(self, tar: TarStream, member: tarfile.TarInfo) -> None:
        if len(member.name) > _MAX_PATH:
            raise InvalidArgument("layer has an entry whose name is too long")
        if ".." in member.name.split("/"):
            raise InvalidArgument(f'layer entry "{member.name}" points outside of the layer')
        clean = posixpath.normpath(f"/{member.name}").lstrip("/")
        if not clean:
            return
        directory, name = posixpath.split(clean)
        self._enter(directory)
        if not self._whiteout(name):
            self._write(tar, member, name)
            if member.isdir():
                self._times.append((clean, int(member.mtime)))

    def set_times(self) -> None:
        """Directory times last: creating entries changed them."""
        for clean, mtime in reversed(self._times):
            directory, name = posixpath.split(clean)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, InvalidArgument):
                self._enter(directory, make=False)
                os.utime(name, (mtime, mtime), dir_fd=self._handle, follow_symlinks=False)

    def _enter(self, directory: str, *, make: bool = True) -> None:
        """Go to an entry's directory, made where it is missing."""
        if directory == self._directory:
            return
        fresh = self._locate(directory, make)
        os.close(self._handle)
        self._directory, self._handle = directory, fresh

    def _locate(self, directory: str, make: bool) -> int:
        try:
            return beneath.locate_in_root(self._root, directory or ".")
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise
            raise InvalidArgument(f'layer directory "{directory}": {error.strerror}') from error
        try:
            return self._make(resolve(self._path, directory).relative_to(self._path).parts)
        except NotADirectoryError as error:
            raise InvalidArgument(f'layer has no directory "{directory}"') from error

    def _make(self, parts: tuple[str, ...]) -> int:
        at = os.dup(self._root)
        for part in parts:
            try:
                with contextlib.suppress(FileExistsError):
                    self._budget.entry()
                    os.mkdir(part, 0o755, dir_fd=at)
                inner = os.open(part, _DIRECTORY, dir_fd=at)
            finally:
                os.close(at)
            at = inner
        return at

    def _whiteout(self, name: str) -> bool:
        """Translate a whiteout entry; False when it is an ordinary entry."""
        if name == OPAQUE_MARKER:
            os.setxattr(f"/proc/self/fd/{self._handle}", "trusted.overlay.opaque", b"y")
            return True
        if not name.startswith(WHITEOUT_PREFIX):
            return False
        hidden = name.removeprefix(WHITEOUT_PREFIX)
        if hidden in ("", ".", ".."):
            raise InvalidArgument(f'layer has a malformed whiteout "{name}"')
        self._make_way(hidden)
        os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._handle)
        return True

    def _make_way(self, name: str) -> None:
        """Remove what an earlier entry left there: the last one counts."""
        while not trees.remove_some(self._handle, name):
            pass

    def _forget_directory(self) -> None:
        """A name that meant one directory may mean another from here on."""
        self._directory = "\0"

    def _write(self, tar: TarStream, member: tarfile.TarInfo, name: str) -> None:
        if member.isdir():
            self._make_directory(name)
        else:
            self._make_way(name)
            self._write_node(tar, member, name)
            self._forget_directory()
        if not member.islnk():
            self._set_attributes(member, name)

    def _make_directory(self, name: str) -> None:
        try:
            if stat.S_ISDIR(os.lstat(name, dir_fd=self._handle).st_mode):
                return
            self._make_way(name)
            self._forget_directory()
        except FileNotFoundError:
            pass
        os.mkdir(name, 0o755, dir_fd=self._handle)

    def _set_attributes(self, member: tarfile.TarInfo, name: str) -> None:
        os.chown(name, member.uid, member.gid, dir_fd=self._handle, follow_symlinks=False)
        if not member.issym():
            os.chmod(name, member.mode & 0o7777, dir_fd=self._handle)
        for key, value in member.pax_headers.items():
            if key.startswith("SCHILY.xattr."):
                path = f"/proc/self/fd/{self._handle}/{name}"
                _set_xattr(path, key.removeprefix("SCHILY.xattr."), value)
        if not member.isdir():
            times = (int(member.mtime), int(member.mtime))
            os.utime(name, times, dir_fd=self._handle, follow_symlinks=False)

    def _write_node(self, tar: TarStream, member: tarfile.TarInfo, name: str) -> None:
        handle = self._handle
        if member.isreg():
            self._write_file(tar, member, name)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=handle)
        elif member.islnk():
            self._link(member, name)
        elif member.isfifo():
            os.mkfifo(name, dir_fd=handle)
        elif member.ischr() or member.isblk():
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            device = os.makedev(member.devmajor, member.devminor)
            os.mknod(name, kind | 0o600, device, dir_fd=handle)
        else:
            raise InvalidArgument(f'layer entry "{member.name}" has an unknown type')

    def _write_file(self, tar: TarStream, member: tarfile.TarInfo, name: str) -> None:
        self._budget.need(member.size)
        with os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=self._handle), "wb") as file:
            for chunk in tar.content(member, _CHUNK):
                self._budget.spend(len(chunk))
                file.write(chunk)

    def _link(self, member: tarfile.TarInfo, name: str) -> None:
        """A hard link names another entry of the layer; its own last part is not followed."""
        clean = posixpath.normpath(f"/{member.linkname}").lstrip("/")
        directory, source = posixpath.split(clean)
        try:
            place = beneath.locate_in_root(self._root, directory or ".")
            try:
                mode = os.lstat(source, dir_fd=place).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    raise FileNotFoundError(source)
                os.link(
                    source, name, src_dir_fd=place, dst_dir_fd=self._handle, follow_symlinks=False
                )
            finally:
                os.close(place)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InvalidArgument(
                f'layer entry "{member.name}" links to "{member.linkname}", which is not there'
            ) from error


def _set_xattr(path: str, name: str, value: str) -> None:
    # overlayfs' own attributes are ours to set; an image must not smuggle them in.
    if name.startswith(("trusted.", "user.overlay.")):
        return
    with contextlib.suppress(OSError):
        os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
