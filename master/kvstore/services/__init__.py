"""etcd's v3 services as plain async methods; `muster.rpc` carries them. No grpc in here."""

from __future__ import annotations

from collections.abc import Iterator

from master.kvstore.node import Node
from master.kvstore.services.auth import AuthService
from master.kvstore.services.cluster import ClusterService
from master.kvstore.services.kv import KvService
from master.kvstore.services.lease import LeaseService
from master.kvstore.services.maintenance import MaintenanceService
from master.kvstore.services.watch import WatchService
from muster.etcd import rpc_pb2
from muster.rpc.service import Method, methods_of


def all_methods(node: Node) -> Iterator[Method]:
    services = {
        "KV": KvService(node),
        "Watch": WatchService(node),
        "Lease": LeaseService(node),
        "Cluster": ClusterService(node),
        "Auth": AuthService(node),
        "Maintenance": MaintenanceService(node),
    }
    for name, service in services.items():
        yield from methods_of(rpc_pb2.DESCRIPTOR.services_by_name[name], service)
