"""An HTTP request, and the status and text that its answer must have."""

from __future__ import annotations

from typing import Annotated

import aiohttp
from msgspec import Meta

from drills.lab import DrillLab
from drills.probes.base import Probe


class Http(Probe, frozen=True, kw_only=True, tag="http"):
    """An HTTP request, and the status and text that its answer must have."""

    url: Annotated[str, Meta(pattern="^https?://")]
    status: Annotated[int, Meta(ge=100, le=599)] = 200
    contains: str = ""
    verify: Annotated[bool, Meta(description="Check the server's certificate.")] = True

    async def ask(self, lab: DrillLab) -> str:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(self.url, ssl=self.verify, allow_redirects=False) as response,
            ):
                body = await response.text(errors="replace")
        except aiohttp.ClientError as error:
            return str(error) or type(error).__name__
        if response.status != self.status:
            return f"status {response.status}, not {self.status}"
        return "" if self.contains in body else f'the answer does not contain "{self.contains}"'
