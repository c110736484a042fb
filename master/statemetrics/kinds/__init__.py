"""The kinds that have series: a file a kind, and one line here. Pure.

Names, labels and values are those of kube-state-metrics. Secrets are not here: to count them, this
process would have to be allowed to read every one of them.
"""

from __future__ import annotations

from typing import Any

from master.statemetrics.family import StateKind
from master.statemetrics.kinds import (
    configmap,
    deployment,
    endpoints,
    endpointslice,
    lease,
    namespace,
    node,
    pod,
    replicaset,
    service,
    serviceaccount,
)

KINDS: tuple[StateKind[Any], ...] = (
    configmap.KIND,
    deployment.KIND,
    endpoints.KIND,
    endpointslice.KIND,
    lease.KIND,
    namespace.KIND,
    node.KIND,
    pod.KIND,
    replicaset.KIND,
    service.KIND,
    serviceaccount.KIND,
)
