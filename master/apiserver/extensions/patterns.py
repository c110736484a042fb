"""Regular expressions of definitions, in Go's dialect and in linear time. Pure.

They come from users and meet other users' texts: Python's own engine could be made to run for ever.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    import re2  # loaded with the first definition that has a pattern

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    return re2.compile(pattern, options)


def problem_of(pattern: str) -> str | None:
    """What is wrong with a pattern, if anything."""
    try:
        _compiled(pattern)
    except Exception as error:  # its Error is not exported in all versions
        detail = error.args[0] if error.args else error
        return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    return None


def matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None
