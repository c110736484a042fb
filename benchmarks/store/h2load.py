"""h2load with raw gRPC frames as the client: costs little, and the same towards both sides.

It counts HTTP statuses, not gRPC's. So callers verify what was done by the store's revision,
or by the bytes of the answers (a gRPC error has none).
"""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m)\b")
_SUCCEEDED = re.compile(r"(\d+) succeeded")
_DATA = re.compile(r"\((\d+)\) data")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Result:
    seconds: float
    succeeded: int
    data_bytes: int


@dataclass(frozen=True, slots=True)
class Shot:
    """One call, to be made over and over."""

    path: str
    body: Path
    connections: int
    streams: int


def write_body(file: Path, message: bytes) -> Path:
    """One uncompressed gRPC frame."""
    file.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    return file


def start(shot: Shot, port: int, calls: int) -> subprocess.Popen[str]:
    command = [
        "h2load", f"-n{calls}", f"-c{shot.connections}", f"-m{shot.streams}", "-d", str(shot.body),
        "-H", "content-type: application/grpc", "-H", "te: trailers",
        f"http://127.0.0.1:{port}{shot.path}",
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Result:
    try:
        out, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return parse(out)


def parse(out: str) -> Result:
    finished, succeeded = _FINISHED.search(out), _SUCCEEDED.search(out)
    data = _DATA.search(out)
    if not finished or not succeeded or not data:
        raise SystemExit(f"h2load said: {out}")
    seconds = float(finished[1]) * _SECONDS[finished[2]]
    return Result(seconds, int(succeeded[1]), int(data[1]))
