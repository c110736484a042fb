"""The one list of controllers: a new one is its file and its line here."""

from __future__ import annotations

from master.controllers.certificates.rootca import RootCaPublisher
from master.controllers.lifecycle.clusterroleaggregation import ClusterRoleAggregation
from master.controllers.lifecycle.garbagecollector import GarbageCollector
from master.controllers.lifecycle.namespace import NamespaceController
from master.controllers.lifecycle.podgc import PodGcController
from master.controllers.lifecycle.serviceaccount import ServiceAccountController
from master.controllers.machinery.controller import Controller
from master.controllers.nodes.nodeipam import NodeIpamController
from master.controllers.nodes.nodelifecycle import NodeLifecycleController
from master.controllers.nodes.tainteviction import TaintEvictionController
from master.controllers.services.endpoints import EndpointsController
from master.controllers.services.endpointslice import EndpointSliceController
from master.controllers.workloads.deployment import DeploymentController
from master.controllers.workloads.replicaset import ReplicaSetController

CONTROLLERS: list[type[Controller]] = [
    DeploymentController,
    ReplicaSetController,
    EndpointSliceController,
    EndpointsController,
    NodeLifecycleController,
    TaintEvictionController,
    GarbageCollector,
    PodGcController,
    NamespaceController,
    ServiceAccountController,
    NodeIpamController,
    RootCaPublisher,
    ClusterRoleAggregation,
]
