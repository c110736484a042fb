"""What a service raises instead of a transport's own error. No transport is imported here."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """gRPC's status codes (grpc/doc/statuscodes.md), by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def label(self) -> str:
        """As grpc's Prometheus metrics spell it: `InvalidArgument`."""
        return "OK" if self is Code.OK else self.name.title().replace("_", "")


class RpcError(Exception):
    """A call's failure as its caller sees it. Subclasses carry their code and message."""

    code: Code = Code.UNKNOWN
    message: str = ""
    # Trailing metadata; a name that ends in `-bin` has bytes.
    trailers: tuple[tuple[str, str | bytes], ...] = ()

    def __init__(self, message: str | None = None, code: Code | None = None) -> None:
        if message is not None:
            self.message = message
        if code is not None:
            self.code = code
        super().__init__(self.message)


class CallFailed(RpcError):
    """A call's failure as the server told it, with the trailing metadata."""


def unavailable(reason: str) -> RpcError:
    return RpcError(reason, Code.UNAVAILABLE)
