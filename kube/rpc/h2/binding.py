"""Finds and loads the shim (`shim.c`, built by `tools/build_shim.py` into `_shim.so`).

cffi's ABI mode: no compiler and no Python headers where it runs, only libnghttp2.so.14. A shim
that is missing, does not load, or was built from other sources is `Unavailable`, never a crash.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SHIM = FOLDER / "_shim.so"
SOURCES = ("shim.h", "shim.c")
# Names another build of the same sources: tests load one with the address sanitizer.
OVERRIDE = "MUSTER_RPC_SHIM"


class Unavailable(Exception):
    """The shim cannot be used here; the message says why and what helps."""


def source_hash() -> str:
    """What a built shim must answer: it speaks to this Python and to no other version."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((FOLDER / name).read_bytes())
    return digest.hexdigest()


@functools.cache
def load() -> tuple[Any, Any]:
    """cffi's `ffi` and the loaded library."""
    path = Path(os.environ.get(OVERRIDE) or SHIM)
    if not path.is_file():
        raise Unavailable(f'"{path.name}" is not built (make shim)')
    try:
        import cffi
    except ImportError as error:
        raise Unavailable(f"cffi is not installed: {error}") from error
    ffi = cffi.FFI()
    ffi.cdef((FOLDER / "shim.h").read_text())
    try:
        lib = ffi.dlopen(str(path))
    except OSError as error:
        raise Unavailable(f'"{path.name}" does not load (libnghttp2.so.14?): {error}') from error
    built_from = ffi.string(lib.h2_source()).decode()
    if built_from != source_hash():
        raise Unavailable(f'"{path.name}" was built from other sources (make shim)')
    return ffi, lib


def why_not() -> str:
    """Empty if the shim can be used, else the reason."""
    try:
        load()
    except Unavailable as error:
        return str(error)
    return ""
