"""What a planted bug is, and its place in a copy of the tree."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = Path(__file__).with_name("catalogue.toml")


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`before` in `file` becomes `after`; each of `checks` must notice."""

    name: str
    file: str
    before: str
    after: str
    checks: tuple[str, ...]

    def mutated(self, text: str) -> str:
        found = text.count(self.before)
        if found != 1:
            raise Stale(f'"{self.name}": its text is {found} times in {self.file}')
        return text.replace(self.before, self.after)

    @contextmanager
    def planted(self, tree: Path) -> Iterator[None]:
        """The bug is in `tree`, which must be a copy, until the block ends."""
        assert tree.resolve() != ROOT
        path = tree / self.file
        text = path.read_text()
        path.write_text(self.mutated(text))
        try:
            yield
        finally:
            path.write_text(text)


class Stale(ValueError):
    """The code is another one now: the mutant must be written anew."""


def catalogue(path: Path = CATALOGUE) -> list[Mutant]:
    return msgspec.convert(tomllib.loads(path.read_text())["mutant"], list[Mutant])
