"""etcd's v3 services as plain async methods; `kube.rpc` carries them. No grpc in here."""

from __future__ import annotations

from collections.abc import Iterator

from kube.rpc.service import Method, methods_of
from kube.stubs.etcd import election_pb2, lock_pb2, rpc_pb2
from master.kvstore.node import Node
from master.kvstore.services.auth import AuthService
from master.kvstore.services.cluster import ClusterService
from master.kvstore.services.election import ElectionService
from master.kvstore.services.kv import KvService
from master.kvstore.services.lease import LeaseService
from master.kvstore.services.lock import LockService
from master.kvstore.services.maintenance import MaintenanceService
from master.kvstore.services.turns import Turns
from master.kvstore.services.watch import WatchService

DESCRIPTORS = [
    *(rpc_pb2.DESCRIPTOR.services_by_name[name] for name in (
        "KV", "Watch", "Lease", "Cluster", "Auth", "Maintenance"
    )),
    lock_pb2.DESCRIPTOR.services_by_name["Lock"],
    election_pb2.DESCRIPTOR.services_by_name["Election"],
]  # fmt: skip


def all_methods(node: Node) -> Iterator[Method]:
    kv, watch, lease = KvService(node), WatchService(node), LeaseService(node)
    turns = Turns(kv, watch, lease)
    services = (
        kv,
        watch,
        lease,
        ClusterService(node),
        AuthService(node),
        MaintenanceService(node),
        LockService(turns, kv),
        ElectionService(turns),
    )
    for descriptor, service in zip(DESCRIPTORS, services, strict=True):
        yield from methods_of(descriptor, service)
