"""Reads a tar stream that may have been made to hurt its reader.

Python's tarfile reads whatever length a header gives into memory (long names, pax records, maps of
sparse files), and keeps every entry that it has seen. So headers get a small allowance of bytes
each, and nothing is kept.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from worker.runtime.errors import InvalidArgument

# The longest extended attribute has 64 KiB, the longest path 4.
HEADER_BYTES = 1 << 20
_BLOCKS = 1 << 16
_SPARSE = "GNU.sparse."
_READ_WHOLE = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class BoundedTarInfo(tarfile.TarInfo):
    """For archives that are read at random: refuses what tarfile would read whole into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _READ_WHOLE and found.size > HEADER_BYTES:
            raise InvalidArgument("tar archive has headers that are too long")
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise InvalidArgument(f'tar entry "{found.name}" is a sparse file')
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:
        """Its map would be read whole; `is_sparse` refuses the other forms."""
        raise InvalidArgument(f'tar entry "{self.name}" is a sparse file')


class _Source:
    """What tarfile reads from: no more of it than was allowed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.allowed = 0

    def read(self, size: int) -> bytes:
        if self.allowed < 0:
            raise InvalidArgument("tar archive has headers that are too long")
        data = self._stream.read(size)
        self.allowed -= len(data)
        return data


class TarStream:
    """A tar stream's entries, each to be read before the next is asked for."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._source = _Source(stream)
        self._source.allowed = HEADER_BYTES
        self._tar = tarfile.open(  # type: ignore[call-overload]  # noqa: SIM115 - it needs no more than read()
            fileobj=self._source, mode="r|", bufsize=_BLOCKS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tar.close()

    def next(self) -> tarfile.TarInfo | None:
        """The next entry. Sparse files are refused: the image format advises against them, and a
        few bytes could stand for terabytes."""
        self._source.allowed = HEADER_BYTES + 2 * _BLOCKS
        member: tarfile.TarInfo | None = self._tar.next()
        self._tar.members = []
        if member is not None and is_sparse(member):
            raise InvalidArgument(f'tar entry "{member.name}" is a sparse file')
        return member

    def content(self, member: tarfile.TarInfo, chunk: int) -> Iterator[bytes]:
        """The bytes of a regular file, all of them."""
        self._source.allowed = member.size + HEADER_BYTES
        file = self._tar.extractfile(member)
        assert file is not None, "a regular file has content"
        left = member.size
        while left > 0:
            data = file.read(min(chunk, left))
            if not data:
                raise EOFError(f'"{member.name}" is cut short')
            left -= len(data)
            yield data


def is_sparse(member: tarfile.TarInfo) -> bool:
    return member.issparse() or any(key.startswith(_SPARSE) for key in member.pax_headers)
