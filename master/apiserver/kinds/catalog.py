"""The list of all kinds: the one place that names a kind's file. Pure."""

from __future__ import annotations

from typing import Any

from kube.machinery.scheme import Resource
from master.apiserver.kinds.apps import deployment, replicaset
from master.apiserver.kinds.coordination import lease
from master.apiserver.kinds.core import (
    configmap,
    endpoints,
    event,
    namespace,
    node,
    pod,
    secret,
    service,
    serviceaccount,
)
from master.apiserver.kinds.discovery import endpointslice
from master.apiserver.kinds.kind import Kind

AnyKind = Kind[Any]
KINDS: tuple[AnyKind, ...] = (
    namespace.KIND,
    node.KIND,
    pod.KIND,
    service.KIND,
    endpoints.KIND,
    configmap.KIND,
    secret.KIND,
    serviceaccount.KIND,
    event.KIND,
    deployment.KIND,
    replicaset.KIND,
    lease.KIND,
    endpointslice.KIND,
)
# By type: classes are hashed faster than rows of the scheme.
_BY_TYPE: dict[type, AnyKind] = {kind.resource.type: kind for kind in KINDS}


def kind_of(resource: Resource) -> AnyKind:
    return _BY_TYPE[resource.type]
