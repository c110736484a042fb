"""Builds `kube/rpc/h2/_shim.so`: `python tools/build_shim.py [--sanitize] [--output FILE]`.

Needs gcc (or $CC) and libnghttp2-dev; no Python headers. What it builds serves every Python on
this architecture.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kube.rpc.h2.binding import FOLDER, SHIM, source_hash, why_not  # noqa: E402 - after the path

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wvla"]
HARDENING = ["-O2", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong", "-Wl,-z,relro,-z,now"]
SANITIZE = [
    "-O1", "-g", "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
]  # fmt: skip


def build(output: Path, *, sanitize: bool = False) -> None:
    """Compile beside the target, then rename: a running process keeps the file it has mapped."""
    partial = output.with_name(f"{output.name}.{os.getpid()}")
    command = [
        os.environ.get("CC", "gcc"), *WARNINGS, *(SANITIZE if sanitize else HARDENING),
        "-fPIC", "-fvisibility=default", "-shared", f'-DH2_SOURCE="{source_hash()}"',
        str(FOLDER / "shim.c"), "-o", str(partial), "-lnghttp2",
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sanitize", action="store_true", help="with ASAN and UBSAN")
    parser.add_argument("--output", type=Path, default=SHIM)
    parser.add_argument("--if-needed", action="store_true", help="not if a fitting one is there")
    arguments = parser.parse_args()
    if arguments.if_needed and not why_not():
        return 0
    try:
        build(arguments.output, sanitize=arguments.sanitize)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the shim was not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
