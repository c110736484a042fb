"""What a probe is: one question that has to be answered well, asked again and again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from drills.base import Key, Strict
from drills.lab import DrillLab


class Probe(Strict, frozen=True, kw_only=True, tag_field="probe"):
    """What every probe may say beside its own question."""

    name: Key
    interval_seconds: Annotated[float, Meta(gt=0, le=600)] = 1.0
    timeout_seconds: Annotated[float, Meta(gt=0, le=600)] = 3.0

    async def ask(self, lab: DrillLab) -> str:
        """ "" when it holds, else what does not. May raise OSError or TimeoutError for the same."""
        raise NotImplementedError
