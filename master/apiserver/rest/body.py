"""Reading request bodies: size limit, encoding, JSON, YAML or protobuf, field validation."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from kube.api.meta import DeleteOptions
from kube.machinery.errors import BadRequest, TooLarge, UnsupportedMediaType
from master.apiserver import metrics
from master.apiserver.decoding import limits, query
from master.apiserver.decoding.checks import check_kind, checked
from master.apiserver.decoding.codec import Codec
from master.apiserver.decoding.inflate import inflated
from master.apiserver.decoding.jsontext import Problems, decode_json
from master.apiserver.decoding.typed import refused, to_typed, unknown_fields
from master.apiserver.decoding.yamltext import decode_yaml
from master.apiserver.protobuf.decode import MEDIA_TYPE, decode_body
from master.apiserver.registry.api import APPLY_PATCH, most_values
from master.apiserver.registry.options import Target

_YAML = ("application/yaml", "text/yaml", "application/x-yaml")
_LARGE_BYTES = 32 * 1024


async def read_body(request: web.Request) -> bytes:
    """The body, refused before it is read when it announces itself as too large."""
    try:
        if request.content_length is not None and request.content_length > limits.MAX_BODY_BYTES:
            raise limits.too_large()
        # aiohttp stops reading at the application's client_max_size.
        return inflated(await request.read(), request.headers.get("Content-Encoding", ""))
    except (web.HTTPRequestEntityTooLarge, TooLarge) as error:
        metrics.terminated(request.method, 413)
        raise limits.too_large() from error


async def parse_body(
    body: bytes, content_type: str, problems: Problems | None, most: int = limits.MAX_VALUES
) -> Any:
    """JSON, YAML or protobuf to plain values, of which there may be so many. Raises BadRequest,
    TooLarge, UnsupportedMediaType."""
    if content_type == MEDIA_TYPE:
        return decode_body(body)
    if content_type == APPLY_PATCH:
        return await decode_yaml(body, problems, most)
    if content_type in _YAML:
        return await decode_yaml(body, problems, most)
    if content_type not in ("application/json", "application/octet-stream", "") and not (
        content_type.endswith("+json")
    ):
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    return decode_json(body, problems, most)


class FieldValidation:
    """`fieldValidation=Strict|Warn|Ignore`: what happens to unknown and duplicate fields."""

    def __init__(self, mode: str) -> None:
        if mode not in ("", "Strict", "Warn", "Ignore"):
            raise BadRequest(f'invalid fieldValidation "{mode}": must be Strict, Warn or Ignore')
        self.mode = mode or "Warn"
        self.warnings: list[str] = []

    @property
    def problems(self) -> Problems | None:
        """Where the readers note duplicates; None when nobody asks."""
        return None if self.mode == "Ignore" else Problems()

    def check(self, value: Any, codec: Codec, found: list[str], what: str) -> None:
        """Raises BadRequest when strict, else remembers the warnings."""
        if self.mode == "Ignore":
            return
        texts = found + unknown_fields(value, codec.schema)
        if not texts:
            return
        if self.mode == "Strict":
            raise BadRequest(
                f"{what} cannot be handled as a {codec.kind}: "
                f"strict decoding error: {', '.join(texts)}"
            )
        self.warnings += texts


def describe(target: Target) -> str:
    return f'{target.body.kind} in version "{target.resource.version}"'


async def decode_object(
    body: bytes,
    content_type: str,
    target: Target,
    validation: FieldValidation,
) -> msgspec.Struct:
    """A body to its typed object; its kind must be the URL's."""
    problems = validation.problems
    most = most_values(content_type, target.kind)
    value = await parse_body(body, content_type, problems, most)
    what, codec = describe(target), target.body
    if not isinstance(value, dict):
        raise refused(what, codec.kind, "expected an object")
    check_kind(value.get("kind"), value.get("apiVersion"), codec, target.resource)
    validation.check(value, codec, problems.found if problems else [], what)
    obj: msgspec.Struct = codec.typed(value, what)
    if len(body) > _LARGE_BYTES:
        await asyncio.sleep(0)  # the rest is work of its own
    return obj


async def delete_options(body: bytes, content_type: str, asked: dict[str, str]) -> DeleteOptions:
    """DeleteOptions from the body, else from the query."""
    options = DeleteOptions()
    if body.strip():
        value = await parse_body(body, content_type, None)
        options = to_typed(DeleteOptions, value, 'DeleteOptions in version "v1"')
    changes: dict[str, Any] = {}
    grace = query.integer(asked, "gracePeriodSeconds")
    if grace is not None:
        changes["grace_period_seconds"] = grace
    if policy := asked.get("propagationPolicy"):
        changes["propagation_policy"] = policy
    if dry := asked.get("dryRun"):
        changes["dry_run"] = (dry,)
    return checked(msgspec.structs.replace(options, **changes))
