"""JSON Patch (RFC 6902) and JSON Pointer (RFC 6901)."""

from __future__ import annotations

import copy
from typing import Any

from muster.api.errors import BadRequest, Invalid

Json = Any
# A patch of more operations is refused (apiserver: maxJSONPatchOperations).
MAX_OPERATIONS = 10_000
_REJECTED = "the server rejected our request due to an error in our request"


def apply_json_patch(document: Json, patch: Json) -> Json:
    """The patched copy. Raises BadRequest (malformed patch) or Invalid (does not fit)."""
    if not isinstance(patch, list) or not all(isinstance(step, dict) for step in patch):
        raise BadRequest("a JSON patch must be a list of operations")
    if len(patch) > MAX_OPERATIONS:
        raise BadRequest(f"the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}")
    result = copy.deepcopy(document)
    for step in patch:
        result = _apply(result, step)
    return result


def _apply(document: Json, step: dict[str, Json]) -> Json:
    operation, path = step.get("op"), step.get("path")
    if not isinstance(path, str):
        raise BadRequest("a JSON patch operation needs a path")
    match operation:
        case "add" | "replace" | "test" if "value" not in step:
            raise BadRequest(f'JSON patch operation "{operation}" needs a value')
        case "add":
            return _add(document, path, copy.deepcopy(step["value"]))
        case "remove":
            return _remove(document, path)
        case "replace":
            _get(document, path)
            return _add(
                _remove(document, path) if path else None, path, copy.deepcopy(step["value"])
            )
        case "test":
            if _get(document, path) != step["value"]:
                raise Invalid(f"{_REJECTED}: testing path {path} failed")
            return document
        case "move" | "copy":
            source = step.get("from")
            if not isinstance(source, str):
                raise BadRequest(f'JSON patch operation "{operation}" needs a from')
            value = copy.deepcopy(_get(document, source))
            document = _remove(document, source) if operation == "move" else document
            return _add(document, path, value)
    raise BadRequest(f'unknown JSON patch operation "{operation}"')


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
    if isinstance(node, list) and token.isdecimal() and int(token) < len(node):
        return node[int(token)]
    raise _missing(path)


def _get(document: Json, path: str) -> Json:
    for token in _tokens(path):
        document = _step(document, token, path)
    return document


def _parent(document: Json, path: str) -> tuple[Json, str]:
    *way, last = _tokens(path)
    for token in way:
        document = _step(document, token, path)
    return document, last


def _add(document: Json, path: str, value: Json) -> Json:
    if not path:
        return value
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and last.isdecimal() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise _missing(path)
    return document


def _remove(document: Json, path: str) -> Json:
    if not path:
        raise BadRequest("a JSON patch cannot remove the whole object")
    parent, last = _parent(document, path)
    _step(parent, last, path)
    if isinstance(parent, dict):
        del parent[last]
    else:
        del parent[int(last)]
    return document
