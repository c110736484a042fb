"""etcd's v3 services as plain async methods; `muster.rpc` carries them. No grpc in here."""

from __future__ import annotations

from collections.abc import Iterator

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
from muster.etcd import election_pb2, lock_pb2, rpc_pb2
from muster.rpc.service import Method, methods_of


def all_methods(node: Node) -> Iterator[Method]:
    kv, watch, lease = KvService(node), WatchService(node), LeaseService(node)
    turns = Turns(kv, watch, lease)
    services = [
        (rpc_pb2, "KV", kv),
        (rpc_pb2, "Watch", watch),
        (rpc_pb2, "Lease", lease),
        (rpc_pb2, "Cluster", ClusterService(node)),
        (rpc_pb2, "Auth", AuthService(node)),
        (rpc_pb2, "Maintenance", MaintenanceService(node)),
        (lock_pb2, "Lock", LockService(turns, kv)),
        (election_pb2, "Election", ElectionService(turns)),
    ]
    for file, name, service in services:
        yield from methods_of(file.DESCRIPTOR.services_by_name[name], service)
