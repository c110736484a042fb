"""What a client sends that is wrong, and what a running api-server answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.component.apiserver_harness import cluster
from tests.component.pki_fixture import Pki
from tests.security.bad_inputs import ROWS, Row
from tests.security.tables import Table
from tests.security.test_bad_input import prepare, send

_SHOWN = 110


def table() -> Table:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pki").mkdir()
        pki = Pki.create(directory / "pki")
        with cluster("etcd", directory, pki) as made:
            prepare(made)
            rows = [_measured(row, *send(made.server, pki, row)) for row in ROWS]
    return Table(("what", "is sent", "answer", "because"), rows)


def _measured(row: Row, code: int, text: str) -> tuple[str, ...]:
    if code != row.code or row.text not in text:
        raise AssertionError(f"{row.name}: {code} {text[:300]}")
    return row.subject, _plain(row.what), str(code), f"`{_plain(_told(text))}`"


def _told(text: str) -> str:
    """The part that says what is wrong: behind what names the object."""
    told = (
        text.partition(" is invalid: ")[2] or text.partition(" cannot be handled as a ")[2] or text
    )
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}…"


def _plain(text: str) -> str:
    escaped = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return escaped.replace("`", "'").replace("<", "&lt;")
