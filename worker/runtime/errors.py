"""What a CRI call can fail with: each class carries its gRPC code."""

from __future__ import annotations

from kube.rpc.errors import Code


class RuntimeFailure(Exception):
    """Base of all: something on this node did not work; the message says what."""

    code = Code.INTERNAL


class NotFound(RuntimeFailure):
    """No such sandbox, container or image. Kubelets take it for "already gone"."""

    code = Code.NOT_FOUND


class InvalidArgument(RuntimeFailure):
    """The request can never work as it is."""

    code = Code.INVALID_ARGUMENT


class FailedPrecondition(RuntimeFailure):
    """The object is in the wrong state for this call."""

    code = Code.FAILED_PRECONDITION


class DeadlineExceeded(RuntimeFailure):
    """A command did not end within the time that the caller gave it."""

    code = Code.DEADLINE_EXCEEDED


class Unavailable(RuntimeFailure):
    """Not now: retry later (no pod network yet, a registry that does not answer)."""

    code = Code.UNAVAILABLE


class Unimplemented(RuntimeFailure):
    """A part of CRI that this runtime does not offer."""

    code = Code.UNIMPLEMENTED
