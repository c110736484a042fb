"""JSON Patch (RFC 6902) and JSON Pointer (RFC 6901), with upstream's limits."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec

from kube.machinery.errors import BadRequest, Invalid, TooLarge
from master.apiserver.decoding import limits

Json = Any
# A patch of more operations is refused (apiserver: maxJSONPatchOperations).
MAX_OPERATIONS = 10_000
# How much all `copy` operations together may add (json-patch: AccumulatedCopySizeLimit, which
# upstream sets to its limit for bodies). A few operations that copy what they made double it.
MAX_COPIED_BYTES = 3 * 2**20
# Operations in one piece. One may move a whole list by a place.
_PIECE = 200
_REJECTED = "the server rejected our request due to an error in our request"
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


async def apply_json_patch(document: Json, patch: Json) -> Json:
    """The patched copy; others are served in between. Raises BadRequest (malformed patch),
    Invalid (does not fit) or TooLarge."""
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise BadRequest("a JSON patch must be a list of operations")
    if len(patch) > MAX_OPERATIONS:
        raise TooLarge(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    run = _Run(_copied(document))
    try:
        for number, step in enumerate(patch, 1):
            run.apply(step)
            if number % _PIECE == 0:
                await asyncio.sleep(0)
    except RecursionError as error:
        raise limits.too_deep() from error
    return run.document


def _copied(value: Json) -> Json:
    """A deep copy, by way of JSON: in C."""
    if not isinstance(value, dict | list):
        return value
    return msgspec.json.decode(msgspec.json.encode(value))


class _Run:
    """The document in the middle of a patch, and what its copies have cost so far."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self._copied_bytes = 0
        self._copied_values = 0

    def apply(self, step: dict[str, Json]) -> None:
        operation, path = step.get("op"), step.get("path")
        if not isinstance(path, str):
            raise BadRequest("a JSON patch operation needs a path")
        match operation:
            case "add" | "replace" | "test" if "value" not in step:
                raise BadRequest(f'JSON patch operation "{operation}" needs a value')
            case "add":
                self._add(path, _copied(step["value"]))
            case "remove":
                self._remove(path)
            case "replace":
                self._get(path)
                if path:
                    self._remove(path)
                self._add(path, _copied(step["value"]))
            case "test":
                if self._get(path) != step["value"]:
                    raise Invalid(f"{_REJECTED}: testing path {path} failed")
            case "move":
                source = _source(step)
                value = self._get(source)
                self._remove(source)
                self._add(path, value)
            case "copy":
                self._add(path, self._copy(self._get(_source(step))))
            case _:
                raise BadRequest(f"unknown JSON patch operation {str(operation)[:40]!r}")

    def _copy(self, value: Json) -> Json:
        """A copy that is paid for before it is made."""
        encoded = msgspec.json.encode(value)
        self._copied_bytes += len(encoded)
        self._copied_values += 1 + limits.count_values(encoded)
        if self._copied_bytes > MAX_COPIED_BYTES:
            raise TooLarge(
                "Unable to complete the copy, the accumulated size increase of copy is "
                f"{self._copied_bytes}, exceeding the limit {MAX_COPIED_BYTES}"
            )
        if self._copied_values > limits.MAX_VALUES:
            raise limits.too_many_values()
        return msgspec.json.decode(encoded)

    def _get(self, path: str) -> Json:
        found = self.document
        for token in _tokens(path):
            found = _step(found, token, path)
        return found

    def _parent(self, path: str) -> tuple[Json, str]:
        *way, last = _tokens(path)
        found = self.document
        for token in way:
            found = _step(found, token, path)
        return found, last

    def _add(self, path: str, value: Json) -> None:
        if not path:
            self.document = value
            return
        parent, last = self._parent(path)
        if isinstance(parent, dict):
            parent[last] = value
        elif isinstance(parent, list) and last == "-":
            parent.append(value)
        elif isinstance(parent, list) and _INDEX.fullmatch(last) and int(last) <= len(parent):
            parent.insert(int(last), value)
        else:
            raise _missing(path)

    def _remove(self, path: str) -> None:
        if not path:
            raise BadRequest("a JSON patch cannot remove the whole object")
        parent, last = self._parent(path)
        _step(parent, last, path)
        del parent[last if isinstance(parent, dict) else int(last)]


def _source(step: dict[str, Json]) -> str:
    source = step.get("from")
    if not isinstance(source, str):
        raise BadRequest(f'JSON patch operation "{step["op"]}" needs a from')
    return source


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise BadRequest(f'JSON pointer "{path}" must start with "/"')
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _missing(path: str) -> Invalid:
    return Invalid(f"{_REJECTED}: path {path} does not exist")


def _step(node: Json, token: str, path: str) -> Json:
    if isinstance(node, dict) and token in node:
        return node[token]
    if isinstance(node, list) and _INDEX.fullmatch(token) and int(token) < len(node):
        return node[int(token)]
    raise _missing(path)
