"""Scenarios of the Raft core as transcripts: commands, `----`, all that happened.

REWRITE=1 writes the outputs anew; the change is then reviewed as a diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.kvstore.raft import progress
from tests.transcripts.raft_world import World

FILES = sorted(Path(__file__).parent.glob("raft_*.txt"))


def rewritten(text: str) -> str:
    """The same blocks with the output that they have now."""
    world, blocks = World(), []
    for block in text.strip().split("\n\n"):
        given = block.split("\n----", maxsplit=1)[0]
        commands = [line for line in given.splitlines() if not line.startswith("#")]
        output = [line for command in commands for line in world.run(command)]
        blocks.append("\n".join([given, "----", *output]))
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output in the file is what the cores do now."""
    for name in ("MAX_INFLIGHT_MESSAGES", "MAX_INFLIGHT_BYTES"):
        monkeypatch.setattr(progress, name, getattr(progress, name))
    now = rewritten(path.read_text())
    if os.environ.get("REWRITE"):
        path.write_text(now)
    assert now == path.read_text()


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 8
