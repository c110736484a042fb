"""Which strategy serves which kind."""

from __future__ import annotations

from typing import Any

from kube.machinery.scheme import RESOURCES, Resource
from master.apiserver.registry.strategies.apps import DeploymentStrategyRules, ReplicaSetStrategy
from master.apiserver.registry.strategies.cluster import NamespaceStrategy, NodeStrategy
from master.apiserver.registry.strategies.config import (
    ConfigMapStrategy,
    SecretStrategy,
    ServiceAccountStrategy,
)
from master.apiserver.registry.strategies.pod import PodStrategy, TolerationSeconds
from master.apiserver.registry.strategies.records import (
    EndpointSliceStrategy,
    EndpointsStrategy,
    EventStrategy,
    LeaseStrategy,
)
from master.apiserver.registry.strategies.service import ServiceStrategy
from master.apiserver.registry.strategy import Strategy

AnyStrategy = Strategy[Any]
_BY_KIND: dict[str, type[AnyStrategy]] = {
    "ConfigMap": ConfigMapStrategy,
    "Deployment": DeploymentStrategyRules,
    "EndpointSlice": EndpointSliceStrategy,
    "Endpoints": EndpointsStrategy,
    "Event": EventStrategy,
    "Lease": LeaseStrategy,
    "Namespace": NamespaceStrategy,
    "Node": NodeStrategy,
    "ReplicaSet": ReplicaSetStrategy,
    "Secret": SecretStrategy,
    "Service": ServiceStrategy,
    "ServiceAccount": ServiceAccountStrategy,
}


def strategies(tolerations: TolerationSeconds) -> dict[Resource, AnyStrategy]:
    """A strategy for every kind of the scheme."""
    table: dict[Resource, AnyStrategy] = {}
    for resource in RESOURCES:
        if resource.kind == "Pod":
            table[resource] = PodStrategy(resource, tolerations)
        else:
            table[resource] = _BY_KIND[resource.kind](resource)
    return table
