"""The text of all objects of a kind, kept up to date object by object. Pure.

An object's lines are made once when it changes, so a scrape only joins them: with a thousand pods,
making them anew each time would cost more than all else that this process does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from kube.machinery.scheme import key_of
from master.statemetrics.family import StateKind, T


class Series(Generic[T]):
    """`limit` bounds how many objects have series (0: no bound). One that came too late gets its
    series with its first change after there is room again."""

    def __init__(self, kind: StateKind[T], limit: int = 0) -> None:
        self.kind = kind
        self._limit = limit
        self._lines: dict[str, tuple[str, ...]] = {}
        self._left_out: set[str] = set()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def left_out(self) -> int:
        """Objects without series, because of the limit."""
        return len(self._left_out)

    def on_event(self, _: str, old: T | None, new: T | None) -> None:
        """An informer's handler."""
        if new is not None:
            self._put(key_of(new), new)
        elif old is not None:
            self._lines.pop(key_of(old), None)
            self._left_out.discard(key_of(old))

    def _put(self, key: str, obj: T) -> None:
        if self._limit and key not in self._lines and len(self._lines) >= self._limit:
            self._left_out.add(key)
            return
        self._left_out.discard(key)
        self._lines[key] = self.kind.lines(obj)

    def text(self) -> Iterator[str]:
        """Family by family; a family without samples has its header all the same, as upstream."""
        columns = zip(*self._lines.values(), strict=True) if self._lines else ()
        lines = list(columns) or [()] * len(self.kind.families)
        for family, texts in zip(self.kind.families, lines, strict=True):
            yield family.header()
            yield from texts
