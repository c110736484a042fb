"""A PromQL expression that must give samples, as an alert's opposite."""

from __future__ import annotations

from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta

from drills.lab import DrillLab
from drills.probes.base import Probe


class Promql(Probe, frozen=True, kw_only=True, tag="promql"):
    """Holds while the expression gives at least one sample: `up{job="kubelet"} == 1`."""

    query: Annotated[str, Meta(min_length=1)]
    url: Annotated[
        str, Meta(pattern="^(https?://.*)?$", description="Of another than the lab's Prometheus.")
    ] = ""

    async def ask(self, lab: DrillLab) -> str:
        url = self.url or lab.prometheus
        if not url:
            return "the lab has no Prometheus (`spec.monitoring`), and the probe names none (`url`)"
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{url}/api/v1/query", params={"query": self.query}) as response,
            ):
                answer: dict[str, Any] = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, msgspec.DecodeError) as error:
            return f"Prometheus does not answer: {error}"
        return holds(answer)


def holds(answer: dict[str, Any]) -> str:
    """ "" when the answer of Prometheus' HTTP API has samples."""
    if answer.get("status") != "success":
        return f"Prometheus refuses the query: {answer.get('error', 'no reason given')}"
    result = answer.get("data", {}).get("result") or []
    return "" if result else "no sample"
