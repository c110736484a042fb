"""What machines are given, as text: the lab file, `----`, then files and units in full.

REWRITE=1 writes the outputs anew; the change is then reviewed as a diff.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from provision.identities import allocate
from provision.labfile import parse_lab
from provision.monitoring.scrape import scrape_config
from provision.payload.build import build_payload
from provision.pki.store import ensure_pki

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("payload_*.txt"))
# Certificates differ each time; what else is text is shown.
OPAQUE = (".crt", ".key", ".pub", ".conf", ".py", ".toml")
SHOWN = ("keepalived.conf", "90-muster.conf")


def described(text: str, directory: Path) -> Iterator[str]:
    """Everything about the machines that a `machine:` line of the scenario names."""
    head, _, machines = text.partition("# machines:")
    record = allocate(parse_lab(head), {})
    pki = ensure_pki(record, directory, datetime(2030, 1, 1, tzinfo=UTC))
    wanted = machines.split()
    for machine in record.machines:
        if machine.name not in wanted:
            continue
        payload = build_payload(record, machine, pki)
        yield f"== {machine.name}: files"
        for file in payload.files:
            owned = "" if file.owner == file.group == "root" else f" {file.owner}:{file.group}"
            yield f"{file.mode:04o} {file.path}{owned}"
        for file in payload.files:
            name = Path(file.path).name
            if name in SHOWN or not name.endswith(OPAQUE):
                yield f"== {machine.name}: {file.path}"
                yield file.content.decode().rstrip()
    if "prometheus" in wanted:
        yield "== prometheus.yml"
        yield scrape_config(record, Path("/pki")).rstrip()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_payload_transcript(path: Path, tmp_path: Path) -> None:
    scenario, _, expected = path.read_text().partition("\n----\n")
    actual = "\n".join(described(scenario, tmp_path)) + "\n"
    if os.environ.get("REWRITE"):
        path.write_text(f"{scenario}\n----\n{actual}")
        return
    assert actual == expected


def test_there_are_transcripts() -> None:
    assert len(FILES) >= 2
