"""What a node's certificate may do: every cell of the matrix, asked of a real api-server."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.component.pki_fixture import Pki
from tests.security.node_cells import Cell, cells
from tests.security.node_world import TRANSPORTS, World, ask, world, wrong
from tests.security.tables import Table

_HEADER = ("resource", "whose, or what", "verbs", "answer", "cells")


def table() -> Table:
    """A row for each thing that is asked about; verbs with the same answer share it."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        pki = Pki.create(directory / "pki")
        with world(directory, pki) as made:
            return Table(_HEADER, _rows(made))


def _rows(made: World) -> list[tuple[str, ...]]:
    verbs: dict[tuple[str, str, str], list[str]] = {}
    asked: dict[tuple[str, str, str], int] = {}
    for cell in cells():
        key = (cell.shown, cell.whose, _answer(made, cell))
        verbs.setdefault(key, [])
        if cell.verb not in verbs[key]:
            verbs[key].append(cell.verb)
        asked[key] = asked.get(key, 0) + len(_transports(cell))
    return [
        (resource, whose, ", ".join(verbs[resource, whose, answer]), answer,
         str(asked[resource, whose, answer]))
        for resource, whose, answer in verbs
    ]  # fmt: skip


def _transports(cell: Cell) -> tuple[str, ...]:
    return TRANSPORTS[:1] if cell.rest_only else TRANSPORTS


def _answer(made: World, cell: Cell) -> str:
    """The measured answer; whether it is upstream's is said too."""
    answers = {transport: ask(made, cell, transport) for transport in _transports(cell)}
    for transport, answer in answers.items():
        if why := wrong(made, cell, answer):
            return f"**not as it should be** ({transport}): {why}"
    codes = {answer.code for answer in answers.values()}
    verdict = "allowed" if cell.allowed else "refused"
    if 404 in codes:
        verdict = "not found"
    if 422 in codes:
        verdict = "refused as invalid"
    if 409 in codes:
        verdict = "allowed; exists already"
    return verdict + (" (upstream allows)" if cell.stricter else "")
