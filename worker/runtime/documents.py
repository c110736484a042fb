"""JSON documents on disk: read, replace whole, list. A torn or foreign file reads as absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from kube.component.log import get_logger

log = get_logger(__name__)
T = TypeVar("T", bound=msgspec.Struct)


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` beside `path` and rename it over; readers never see half of it."""
    scratch = path.with_name(f".{path.name}.new")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    scratch.rename(path)


def save(path: Path, record: msgspec.Struct) -> None:
    replace_file(path, msgspec.json.encode(record))


def load(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, msgspec.ValidationError, NotADirectoryError) as error:
        # A power cut can leave an empty file behind; what it described is taken down as unknown.
        log.warning("unreadable record", path=str(path), error=str(error))
        return None
