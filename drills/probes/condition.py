"""A condition of an object of the lab's API, such as a Deployment's Available."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from drills.lab import DrillLab
from drills.probes.base import Probe
from kube.api.apps import Deployment
from kube.api.core import Node, Pod
from kube.machinery.errors import StatusError

KINDS: dict[str, type[Any]] = {"Deployment": Deployment, "Node": Node, "Pod": Pod}


class Condition(Probe, frozen=True, kw_only=True, tag="condition"):
    """A condition of an object of the lab's API, such as a Deployment's Available."""

    kind: Literal["Deployment", "Node", "Pod"]
    object: Annotated[str, Meta(min_length=1, description="[NAMESPACE/]NAME.")]
    condition: str = "Ready"
    status: Literal["True", "False", "Unknown"] = "True"

    async def ask(self, lab: DrillLab) -> str:
        namespace, _, name = self.object.rpartition("/")
        if self.kind != "Node":
            namespace = namespace or "default"
        try:
            async with lab.client() as client:
                found = await client.get(KINDS[self.kind], name, namespace)
        except StatusError as error:
            return error.message
        said = [c.status for c in found.status.conditions or () if c.type == self.condition]
        if said == [self.status]:
            return ""
        return f"{self.kind} {self.object}: {self.condition} is {said[0] if said else 'not said'}"
