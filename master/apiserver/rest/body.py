"""Reading request bodies: size limit, JSON or YAML, field validation."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from aiohttp import web

from master.apiserver import metrics
from master.apiserver.patch.mergekeys import Shape
from master.apiserver.protobuf.decode import MEDIA_TYPE, decode_body
from master.apiserver.registry.decode import (
    MAX_BODY_BYTES,
    Problems,
    decode_json,
    to_typed,
    unknown_fields,
)
from muster.api.errors import BadRequest, TooLarge, UnsupportedMediaType
from muster.api.meta import DeleteOptions
from muster.api.scheme import Resource

_YAML = ("application/yaml", "text/yaml", "application/x-yaml", "application/apply-patch+yaml")
_ANY = Shape()
_TOO_LARGE = f"Request entity too large: limit is {MAX_BODY_BYTES}"


async def read_body(request: web.Request) -> bytes:
    """The body, refused before it is read when it announces itself as too large."""
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        metrics.terminated(request.method, 413)
        raise TooLarge(_TOO_LARGE)
    try:
        # aiohttp stops reading at the application's client_max_size.
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        metrics.terminated(request.method, 413)
        raise TooLarge(_TOO_LARGE) from error


def parse_body(
    body: bytes, content_type: str, problems: Problems | None, shape: Shape = _ANY
) -> Any:
    """JSON, YAML or protobuf to plain values. Raises BadRequest, UnsupportedMediaType."""
    if content_type == MEDIA_TYPE:
        return decode_body(body, shape)
    if content_type in _YAML:
        try:
            # JSON is YAML; kubectl sends apply patches as JSON under the YAML type.
            return yaml.safe_load(body)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BadRequest(f"error parsing YAML: {error}") from error
    if content_type not in ("application/json", "application/octet-stream", "") and not (
        content_type.endswith("+json")
    ):
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    return decode_json(body, problems)


class FieldValidation:
    """`fieldValidation=Strict|Warn|Ignore`: what happens to unknown and duplicate fields."""

    def __init__(self, mode: str) -> None:
        if mode not in ("", "Strict", "Warn", "Ignore"):
            raise BadRequest(f'invalid fieldValidation "{mode}": must be Strict, Warn or Ignore')
        self.mode = mode or "Warn"
        self.warnings: list[str] = []

    @property
    def problems(self) -> Problems | None:
        """Where the JSON reader notes duplicates; None when nobody asks."""
        return None if self.mode == "Ignore" else Problems()

    def check(self, value: Any, type_: type[msgspec.Struct], found: list[str], what: str) -> None:
        """Raises BadRequest when strict, else remembers the warnings."""
        if self.mode == "Ignore":
            return
        texts = found + unknown_fields(value, Shape(type_))
        if not texts:
            return
        if self.mode == "Strict":
            raise BadRequest(
                f"{what} cannot be handled as a {type_.__name__}: "
                f"strict decoding error: {', '.join(texts)}"
            )
        self.warnings += texts


def describe(resource: Resource, type_: type[msgspec.Struct]) -> str:
    return f'{type_.__name__} in version "{resource.version}"'


def decode_object(
    body: bytes,
    content_type: str,
    resource: Resource,
    type_: type[msgspec.Struct],
    validation: FieldValidation,
) -> msgspec.Struct:
    """A body to its typed object; its kind must be the URL's."""
    problems = validation.problems
    value = parse_body(body, content_type, problems, Shape(type_))
    what = describe(resource, type_)
    if not isinstance(value, dict):
        raise BadRequest(f"{what} cannot be handled as a {type_.__name__}: expected an object")
    kind, version = value.get("kind"), value.get("apiVersion")
    if kind not in (None, "", type_.__name__):
        raise BadRequest(
            f'{kind} in version "{version}" cannot be handled as a {type_.__name__}: '
            f"the request's resource is {resource.plural}"
        )
    validation.check(value, type_, problems.found if problems else [], what)
    return to_typed(type_, value, what)


def delete_options(body: bytes, content_type: str, query: dict[str, str]) -> DeleteOptions:
    """DeleteOptions from the body, else from the query."""
    if body.strip():
        value = parse_body(body, content_type, None, Shape(DeleteOptions))
        options = to_typed(DeleteOptions, value, 'DeleteOptions in version "v1"')
    else:
        options = DeleteOptions()
    changes: dict[str, Any] = {}
    if grace := query.get("gracePeriodSeconds"):
        if not grace.lstrip("-").isdecimal():
            raise BadRequest(f'invalid gracePeriodSeconds "{grace}"')
        changes["grace_period_seconds"] = int(grace)
    if policy := query.get("propagationPolicy"):
        changes["propagation_policy"] = policy
    if dry := query.get("dryRun"):
        changes["dry_run"] = (dry,)
    options = msgspec.structs.replace(options, **changes)
    if options.propagation_policy not in ("", "Orphan", "Background", "Foreground"):
        raise BadRequest(f'invalid propagationPolicy "{options.propagation_policy}"')
    return options
