"""JSON text to plain values, bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec

from kube.machinery.errors import BadRequest
from master.apiserver.decoding import limits

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_NOTED = 100


@dataclass(slots=True)
class Problems:
    """What strict decoding finds while it reads: duplicate fields."""

    found: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if len(self.found) < MAX_NOTED:
            self.found.append(text)


def decode_json(
    body: bytes, problems: Problems | None = None, most: int = limits.MAX_VALUES
) -> Any:
    """The body as plain values; duplicate keys are noted. Raises BadRequest, TooLarge."""
    limits.check_json(body, most)
    try:
        if problems is None:
            return msgspec.json.decode(body)
        if _SURROGATE.search(body):
            msgspec.json.decode(body)  # refuses halves of characters, which json lets pass
        # Decoded here: given bytes, json would take UTF-16 and UTF-32 as well.
        text = body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_pairs(problems), parse_constant=_no_number)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f"the object provided is unrecognized: {error}") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _pairs(problems: Problems) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def made_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    problems.note(f'duplicate field "{key}"')
                seen.add(key)
        return made

    return made_of
