"""`$(VAR)` in commands, arguments and values (upstream's `third_party/forked/golang/expansion`).

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` that is known; leave unknown ones; `$$` is a literal `$`.

    An unfinished `$(` stays as it is, so that shell text survives.
    """
    out: list[str] = []
    at = 0
    while at < len(text):
        dollar = text.find("$", at)
        if dollar < 0 or dollar + 1 == len(text):
            break
        out.append(text[at:dollar])
        piece, at = _operator(text, dollar + 1, variables)
        out.append(piece)
    out.append(text[at:])
    return "".join(out)


def _operator(text: str, at: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """What stands for the `$` before `at`, and where the text goes on."""
    if text[at] == "$":
        return "$", at + 1
    if text[at] != "(":
        return "$" + text[at], at + 1
    end = text.find(")", at)
    if end < 0:
        return "$(", at + 1
    name = text[at + 1 : end]
    return variables.get(name, f"$({name})"), end + 1


def expand_all(texts: Iterable[str], variables: Mapping[str, str]) -> list[str]:
    return [expand(text, variables) for text in texts]
