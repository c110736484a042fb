"""The API's errors: one tree, each class with its HTTP code, gRPC code and reason.

Shapes and texts follow apimachinery's `api/errors` and metav1.Status. The api-server raises
them, adapters turn them into a Status body or gRPC trailer, the client turns those back.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kube.api.meta import ListMeta, Status, StatusCause, StatusDetails
from kube.rpc.errors import Code

# Who sends ten thousand wrong keys need not hear of each.
MAX_CAUSES = 100
TRAILER = "muster-status-bin"


class StatusError(Exception):
    """An API call failed; `status()` is the metav1.Status that says why."""

    http_code: int = 500
    reason: str = "InternalError"
    code: Code = Code.INTERNAL

    def __init__(self, message: str, details: StatusDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def status(self) -> Status:
        return Status(
            api_version="v1",
            kind="Status",
            metadata=ListMeta(),
            status="Failure",
            message=self.message,
            reason=self.reason,
            details=self.details,
            code=self.http_code,
        )


class BadRequest(StatusError):
    http_code, reason, code = 400, "BadRequest", Code.INVALID_ARGUMENT


class Unauthorized(StatusError):
    http_code, reason, code = 401, "Unauthorized", Code.UNAUTHENTICATED


class Forbidden(StatusError):
    http_code, reason, code = 403, "Forbidden", Code.PERMISSION_DENIED


class NotFound(StatusError):
    http_code, reason, code = 404, "NotFound", Code.NOT_FOUND


class MethodNotAllowed(StatusError):
    http_code, reason, code = 405, "MethodNotAllowed", Code.UNIMPLEMENTED


class NotAcceptable(StatusError):
    http_code, reason, code = 406, "NotAcceptable", Code.INVALID_ARGUMENT


class AlreadyExists(StatusError):
    http_code, reason, code = 409, "AlreadyExists", Code.ALREADY_EXISTS


class Conflict(StatusError):
    """The caller's resource_version or uid is stale: read again, then retry."""

    http_code, reason, code = 409, "Conflict", Code.ABORTED


class Expired(StatusError):
    """The resource_version or continue token was compacted: list again from the start."""

    http_code, reason, code = 410, "Expired", Code.OUT_OF_RANGE


class TooLarge(StatusError):
    http_code, reason, code = 413, "RequestEntityTooLarge", Code.RESOURCE_EXHAUSTED


class UnsupportedMediaType(StatusError):
    http_code, reason = 415, "UnsupportedMediaType"
    code = Code.INVALID_ARGUMENT


class Invalid(StatusError):
    """The object was understood and breaks a rule; `details.causes` name the fields."""

    http_code, reason, code = 422, "Invalid", Code.FAILED_PRECONDITION


class TooManyRequests(StatusError):
    http_code, reason, code = 429, "TooManyRequests", Code.RESOURCE_EXHAUSTED


class InternalError(StatusError):
    pass


class ServiceUnavailable(StatusError):
    http_code, reason, code = 503, "ServiceUnavailable", Code.UNAVAILABLE


class Timeout(StatusError):
    http_code, reason, code = 504, "Timeout", Code.DEADLINE_EXCEEDED


_BY_REASON: dict[str, type[StatusError]] = {
    cls.reason: cls
    for cls in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable,
        AlreadyExists, Conflict, Expired, TooLarge, UnsupportedMediaType, Invalid,
        TooManyRequests, InternalError, ServiceUnavailable, Timeout,
    )
}  # fmt: skip


def from_status(status: Status) -> StatusError:
    """The exception that a received Status stands for."""
    cls = _BY_REASON.get(status.reason, InternalError)
    return cls(status.message, status.details)


def encode_status(error: StatusError) -> bytes:
    body = msgspec.to_builtins(error.status())
    return msgspec.json.encode(body | {"apiVersion": "v1", "kind": "Status"})


def qualified(plural: str, group: str) -> str:
    """`pods`, `deployments.apps`: how upstream's messages name a resource."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> NotFound:
    return NotFound(
        f'{qualified(plural, group)} "{name}" not found',
        StatusDetails(name=name, group=group, kind=plural),
    )


def already_exists(plural: str, group: str, name: str) -> AlreadyExists:
    return AlreadyExists(
        f'{qualified(plural, group)} "{name}" already exists',
        StatusDetails(name=name, group=group, kind=plural),
    )


def conflict(plural: str, group: str, name: str, why: str = "") -> Conflict:
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    return Conflict(
        f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}',
        StatusDetails(name=name, group=group, kind=plural),
    )


def invalid(kind: str, group: str, name: str, causes: Sequence[StatusCause]) -> Invalid:
    """Upstream joins the causes as `field: message`, several in brackets."""
    if len(causes) > MAX_CAUSES:
        more = StatusCause(message=f"and {len(causes) - MAX_CAUSES} more errors")
        causes = [*causes[:MAX_CAUSES], more]
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    return Invalid(
        f'{qualified(kind, group)} "{name}" is invalid: {joined}',
        StatusDetails(name=name, group=group, kind=kind, causes=tuple(causes)),
    )
