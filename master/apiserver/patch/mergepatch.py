"""JSON Merge Patch (RFC 7386): maps are merged, null removes, everything else replaces."""

from __future__ import annotations

from typing import Any

Json = Any


def apply_merge_patch(document: Json, patch: Json) -> Json:
    """The patched value; `document` is left alone."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply_merge_patch(merged.get(key), value)
    return merged
