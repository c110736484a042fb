"""What a machine is sent of our code, and the Python that runs it there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MACHINE_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True, slots=True)
class Layer:
    """One archive. `hash` names its content; a machine that has it is not sent it again."""

    name: str
    hash: str
    archive: Path
