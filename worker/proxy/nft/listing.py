"""Reads what `nft -s -y list table` prints. Pure; knows only what we write."""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker.proxy.nft.rules import Element
from worker.proxy.nft.table import COLLECTIONS, HOOKS, Table

_BLOCK = re.compile(r"^\t(set|map|chain) (\S+) \{\n(.*?)^\t\}$", re.MULTILINE | re.DOTALL)
_ELEMENTS = re.compile(r"^\t\telements = \{ (.*?) \}$", re.MULTILINE | re.DOTALL)
_TIMEOUT = re.compile(r"^\t\ttimeout (\S+)$", re.MULTILINE)
_DURATION = re.compile(r"(\d+)(ms|[dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_AFFINITY = "affinity-"


def parse(text: str) -> Table | None:
    """None when the table is not the one that we make: it must be made anew."""
    chains: dict[str, tuple[str, ...]] = {}
    affinities: dict[str, int] = {}
    elements: dict[Element, str] = {}
    hooks: dict[str, str] = {}
    collections: dict[str, tuple[str, str]] = {}
    for kind, name, body in _BLOCK.findall(text):
        lines = [line.strip() for line in body.splitlines()]
        if kind == "chain":
            if lines and lines[0].startswith("type "):
                hooks[name] = lines[0]
            chains[name] = tuple(
                line for line in lines if not line.startswith(("type ", "comment "))
            )
        elif name.startswith(_AFFINITY):
            affinities[name] = _seconds(body)
        else:
            collections[name] = (kind, lines[0] if lines else "")
            elements.update(_elements(name, body))
    ours = {name: (collection.kind, collection.type) for name, collection in COLLECTIONS.items()}
    if hooks != HOOKS or collections != ours:
        return None
    return Table(chains, affinities, elements)


def _elements(name: str, body: str) -> Iterator[tuple[Element, str]]:
    found = _ELEMENTS.search(body)
    if found is None:
        return
    for element in re.split(r",\s+", found[1]):
        key, comment, rest = element.partition(" comment ")
        if comment:
            yield (name, key), f"comment {rest}"
        else:
            key, _, verdict = element.partition(" : ")
            yield (name, key), verdict


def _seconds(body: str) -> int:
    found = _TIMEOUT.search(body)
    parts = _DURATION.findall(found[1]) if found else []
    return round(sum(int(number) * _SECONDS[unit] for number, unit in parts))
