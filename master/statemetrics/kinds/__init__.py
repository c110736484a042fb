"""The kinds that have series: a file a kind, and one line here. Pure.

Names, labels and values are those of kube-state-metrics. Secrets are not here: to count them, this
process would have to be allowed to read every one of them.
"""

from __future__ import annotations

from typing import Any

from master.statemetrics.family import StateKind
from master.statemetrics.kinds import (
    configmap,
    cronjob,
    daemonset,
    deployment,
    endpoints,
    endpointslice,
    horizontalpodautoscaler,
    job,
    lease,
    limitrange,
    namespace,
    node,
    persistentvolume,
    persistentvolumeclaim,
    pod,
    poddisruptionbudget,
    replicaset,
    replicationcontroller,
    resourcequota,
    service,
    serviceaccount,
    statefulset,
)

KINDS: tuple[StateKind[Any], ...] = (
    configmap.KIND,
    cronjob.KIND,
    daemonset.KIND,
    deployment.KIND,
    endpoints.KIND,
    endpointslice.KIND,
    horizontalpodautoscaler.KIND,
    job.KIND,
    lease.KIND,
    limitrange.KIND,
    namespace.KIND,
    node.KIND,
    persistentvolume.KIND,
    persistentvolumeclaim.KIND,
    pod.KIND,
    poddisruptionbudget.KIND,
    replicaset.KIND,
    replicationcontroller.KIND,
    resourcequota.KIND,
    service.KIND,
    serviceaccount.KIND,
    statefulset.KIND,
)
