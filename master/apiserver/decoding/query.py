"""Numbers and choices of a URL's query, read as Go reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kube.api.meta import StatusCause
from kube.machinery.errors import BadRequest, StatusError, invalid

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = 2**63
_MAX_DIGITS = 20
_SHOWN = 60


def integer(query: Mapping[str, str], name: str, least: int = -_INT64) -> int | None:
    """An int64; None when it is not given. Raises BadRequest."""
    text = query.get(name, "")
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise _refused(name, text, "invalid syntax")
    if len(text.lstrip("+-0")) > _MAX_DIGITS or not -_INT64 <= int(text) < _INT64:
        raise _refused(name, text, "value out of range")
    if int(text) < least:
        raise BadRequest(f'invalid {name} "{text}": must be greater than or equal to {least}')
    return int(text)


def _refused(name: str, text: str, why: str) -> BadRequest:
    shown = text[:_SHOWN]
    return BadRequest(f'invalid {name} "{shown}": strconv.ParseInt: parsing "{shown}": {why}')


def revision(text: str) -> int:
    """A resourceVersion of a request; "" is 0. Raises BadRequest."""
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()) or len(text.lstrip("0")) > _MAX_DIGITS - 1:
        raise BadRequest(f'invalid resource version "{text[:_SHOWN]}"')
    if int(text) >= _INT64:
        raise BadRequest(f'invalid resource version "{text[:_SHOWN]}"')
    return int(text)


def unsupported(kind: str, field: str, value: str, supported: tuple[str, ...]) -> StatusError:
    """A choice that an option does not have: upstream's answer is 422."""
    shown = ", ".join(f'"{choice}"' for choice in supported)
    text = f'Unsupported value: "{value[:_SHOWN]}": supported values: {shown}'
    cause = StatusCause(field=field, message=text, reason="FieldValueNotSupported")
    return invalid(kind, "meta.k8s.io", "", [cause])
