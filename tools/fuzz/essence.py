"""All that a member's state consists of, in a form that can be compared."""

from __future__ import annotations

from typing import Any

from master.kvstore.machine import Machine


def essence(machine: Machine) -> dict[str, Any]:
    store, auth = machine.mvcc, machine.auth
    return {
        "revision": store.revision,
        "compacted": store.compacted,
        "bytes": store.total_bytes,
        "hash": store.hash(store.revision),
        "live": list(store.live()),
        "keys": store.keys(),
        "leases": {
            lease.id: (lease.ttl_seconds, sorted(lease.keys))
            for lease in machine.lessor.leases.values()
        },
        "alarms": machine.alarms,
        "members": [member.SerializeToString() for member in machine.members.listed()],
        "removed": machine.members.removed,
        "auth": (auth.enabled, auth.revision),
        "users": {name: (user.password, user.roles) for name, user in auth.users.items()},
        "roles": {
            name: [permission.SerializeToString() for permission in given]
            for name, given in auth.roles.items()
        },
    }
