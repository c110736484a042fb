"""How much a request may ask for. What is larger is refused before work is done for it."""

from __future__ import annotations

from typing import Any

from kube.machinery.errors import BadRequest, TooLarge

# etcd's default request limit; upstream's limit for resource bodies is twice that.
MAX_BODY_BYTES = 3 * 512 * 1024
# Maps, lists and scalars of one document together. The largest honest object, an EndpointSlice
# of 1,000 endpoints, has 15,000. Each costs microseconds in each step that a request goes through.
MAX_VALUES = 20_000
# The same for a JSON patch of as many operations as upstream takes.
MAX_PATCH_VALUES = 60_000
# And for patches that are merged element by element: server-side apply, where each field becomes
# a path, and strategic merge.
MAX_MERGED_VALUES = 10_000
# Go's decoder allows 10,000 levels. No type is deeper than thirty; the walks here are recursive.
MAX_DEPTH = 100
_SEPARATORS = (b",", b"{", b"[")


def too_many_values(most: int = MAX_VALUES) -> TooLarge:
    return TooLarge(f"Request entity too large: limit is {most} values")


def too_large() -> TooLarge:
    return TooLarge(f"Request entity too large: limit is {MAX_BODY_BYTES}")


def too_deep() -> BadRequest:
    return BadRequest("the object provided is unrecognized: exceeded max depth")


def check_json(body: bytes, most: int = MAX_VALUES) -> None:
    """Raises TooLarge for JSON of too many values, in a few passes of C over the bytes."""
    if count_values(body, most) > most:
        # Of the two the worse: a long run of brackets is no large object.
        raise too_deep() if _begins_too_deep(body) else too_many_values(most)


def _begins_too_deep(body: bytes) -> bool:
    depth = 0
    for byte in body[: 2 * MAX_VALUES]:
        if byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
        if depth > MAX_DEPTH:
            return True
    return False


def count_values(body: bytes, most: int = MAX_VALUES) -> int:
    """About how many values the JSON text has, never less; more than `most` means just that."""
    count = _separators(body)
    # They may lie in strings: a table in a ConfigMap is one value.
    return count if count <= most else _outside_of_strings(body, most)


def _separators(body: bytes) -> int:
    return sum(body.count(separator) for separator in _SEPARATORS)


def _outside_of_strings(body: bytes, most: int) -> int:
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Every second piece is a string; of those at most half are keys.
    pieces = plain.split(b'"', 4 * most + 1)
    if len(pieces) > 4 * most:
        return most + 1
    return _separators(b"".join(pieces[::2]))


def check_depth(value: Any) -> None:
    """Raises BadRequest for plain values that are nested too deep. Does not recurse."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise too_deep()
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [child for child in item.values() if isinstance(child, dict | list)]
            elif isinstance(item, list):
                below += [child for child in item if isinstance(child, dict | list)]
        level, depth = below, depth + 1
