"""PrioritySort: the highest priority first, then who has waited longest."""

from __future__ import annotations

from typing import Any

from kube.api.core import Pod
from master.scheduler.plugin import Plugin


class PrioritySort(Plugin):
    name = "PrioritySort"

    def queue_key(self, pod: Pod, since: float) -> Any:
        return (-(pod.spec.priority or 0), since)
