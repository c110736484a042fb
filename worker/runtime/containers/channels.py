"""What the messages of a remote command's client mean (`kube.machinery.remotecommand`). Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kube.machinery.remotecommand import CLOSE, RESIZE, STDIN, V5


@dataclass(frozen=True, slots=True)
class Input:
    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfInput:
    pass


@dataclass(frozen=True, slots=True)
class Resize:
    rows: int
    columns: int


def decode(message: bytes, protocol: str) -> Input | EndOfInput | Resize | None:
    """What a client's message means; None for anything that has no meaning to us."""
    if not message:
        return None
    channel, data = message[0], message[1:]
    if channel == STDIN:
        return Input(data)
    if channel == RESIZE:
        return _resize(data)
    if channel == CLOSE and protocol == V5 and data == bytes([STDIN]):
        return EndOfInput()
    return None


def _resize(data: bytes) -> Resize | None:
    try:
        size = json.loads(data)
        rows, columns = int(size["Height"]), int(size["Width"])
    except (ValueError, KeyError, TypeError):
        return None
    return Resize(rows, columns) if 0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF else None


def encode(channel: int, data: bytes) -> bytes:
    return bytes([channel]) + data


def exit_status(code: int) -> bytes:
    """The metav1.Status on the error channel that carries the exit code."""
    if code == 0:
        return json.dumps({"metadata": {}, "status": "Success"}).encode()
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    ).encode()


def failure_status(message: str) -> bytes:
    """The metav1.Status of a stream that could not be served."""
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "InternalError",
            "code": 500,
        }
    ).encode()
