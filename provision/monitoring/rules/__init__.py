"""Recording and alerting rules over a lab's series, as Prometheus reads them. Pure.

Alerts have kube-prometheus' names, severities and delays, so that its runbooks apply, and recorded
series the names that its dashboards ask for; the expressions are ours.
"""

from __future__ import annotations

from typing import Any

import yaml

from provision.monitoring.rules import (
    apiserver,
    machines,
    nodes,
    processes,
    requests,
    store,
    workloads,
)
from provision.monitoring.rules.rule import Group

GROUPS: tuple[Group, ...] = (
    *processes.GROUPS,
    *apiserver.GROUPS,
    *store.GROUPS,
    *nodes.GROUPS,
    *workloads.GROUPS,
    *requests.GROUPS,
    *machines.GROUPS,
)


def rules_text() -> str:
    """The text of rules.yml."""
    document: dict[str, Any] = {"groups": [group.document() for group in GROUPS]}
    return yaml.safe_dump(document, sort_keys=False, width=1000)
