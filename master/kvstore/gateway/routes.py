"""Which rpc a path stands for: the http annotations of etcd 3.4's rpc.proto, lock and election."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kube.rpc.service import Method
from master.kvstore.services import DESCRIPTORS

_PATHS = {
    "KV": {
        "Range": "/v3/kv/range",
        "Put": "/v3/kv/put",
        "DeleteRange": "/v3/kv/deleterange",
        "Txn": "/v3/kv/txn",
        "Compact": "/v3/kv/compaction",
    },
    "Watch": {"Watch": "/v3/watch"},
    "Lease": {
        "LeaseGrant": "/v3/lease/grant",
        "LeaseRevoke": "/v3/lease/revoke /v3/kv/lease/revoke",
        "LeaseKeepAlive": "/v3/lease/keepalive",
        "LeaseTimeToLive": "/v3/lease/timetolive /v3/kv/lease/timetolive",
        "LeaseLeases": "/v3/lease/leases /v3/kv/lease/leases",
    },
    "Cluster": {
        "MemberAdd": "/v3/cluster/member/add",
        "MemberRemove": "/v3/cluster/member/remove",
        "MemberUpdate": "/v3/cluster/member/update",
        "MemberList": "/v3/cluster/member/list",
        "MemberPromote": "/v3/cluster/member/promote",
    },
    "Maintenance": {
        "Alarm": "/v3/maintenance/alarm",
        "Status": "/v3/maintenance/status",
        "Defragment": "/v3/maintenance/defragment",
        "Hash": "/v3/maintenance/hash",
        "Snapshot": "/v3/maintenance/snapshot",
        "MoveLeader": "/v3/maintenance/transfer-leadership",
    },
    "Auth": {
        "AuthEnable": "/v3/auth/enable",
        "AuthDisable": "/v3/auth/disable",
        "Authenticate": "/v3/auth/authenticate",
        "UserAdd": "/v3/auth/user/add",
        "UserGet": "/v3/auth/user/get",
        "UserList": "/v3/auth/user/list",
        "UserDelete": "/v3/auth/user/delete",
        "UserChangePassword": "/v3/auth/user/changepw",
        "UserGrantRole": "/v3/auth/user/grant",
        "UserRevokeRole": "/v3/auth/user/revoke",
        "RoleAdd": "/v3/auth/role/add",
        "RoleGet": "/v3/auth/role/get",
        "RoleList": "/v3/auth/role/list",
        "RoleDelete": "/v3/auth/role/delete",
        "RoleGrantPermission": "/v3/auth/role/grant",
        "RoleRevokePermission": "/v3/auth/role/revoke",
    },
    "Lock": {"Lock": "/v3/lock/lock", "Unlock": "/v3/lock/unlock"},
    "Election": {
        "Campaign": "/v3/election/campaign",
        "Proclaim": "/v3/election/proclaim",
        "Leader": "/v3/election/leader",
        "Observe": "/v3/election/observe",
        "Resign": "/v3/election/resign",
    },
}


@dataclass(frozen=True, slots=True)
class Route:
    method: Method
    response: type[Message]


def routes(methods: Iterable[Method]) -> dict[str, Route]:
    by_path = {method.path: method for method in methods}
    found = {}
    for service in DESCRIPTORS:
        for name, paths in _PATHS[service.name].items():
            route = _route(service, name, by_path)
            found.update(dict.fromkeys(paths.split(), route))
    return found


def _route(service: ServiceDescriptor, name: str, methods: dict[str, Method]) -> Route:
    rpc = service.methods_by_name[name]
    method = methods[f"/{service.full_name}/{name}"]
    return Route(method, GetMessageClass(rpc.output_type))
