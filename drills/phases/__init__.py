"""The phases that a drill may declare: a file for each thing that is watched, named by this list.

A new phase is a `PhaseKind` in one of the files here, and its line below. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from drills.phases import components, endpoints, fault, nodes, pods, requests, store
from drills.phases.base import PhaseKind

ALL: tuple[PhaseKind, ...] = (
    nodes.LAST_LEASE,
    fault.FAULT,
    store.LOST,
    store.ELECTED,
    components.DOWN,
    components.BACK,
    store.SCHEDULER_MOVED,
    store.CONTROLLERS_MOVED,
    nodes.NOT_READY,
    nodes.TAINTED,
    endpoints.WITHDRAWN,
    endpoints.RULES_WITHDRAWN,
    pods.DELETED,
    pods.CREATED,
    pods.SCHEDULED,
    pods.STARTED,
    pods.READY,
    pods.RESTARTED,
    endpoints.PUBLISHED,
    endpoints.RULES_SYNCED,
    requests.FIRST_GOOD,
    requests.ANSWERS_AGAIN,
    requests.API_ANSWERS,
    fault.POWER_ON,
    fault.HEALED,
    nodes.REJOINED,
    nodes.UNTAINTED,
    store.MEMBERS_BACK,
    requests.GOOD_AFTER_HEAL,
    pods.GONE,
)
BY_KEY: Mapping[str, PhaseKind] = MappingProxyType({kind.key: kind for kind in ALL})

__all__ = ["ALL", "BY_KEY", "PhaseKind"]
