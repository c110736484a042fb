"""Who on a machine owns which key: readable only by the component that needs it.

The users exist on masters only. Agents are root everywhere: a node's own identity can act for all
that runs on it anyway.
"""

from __future__ import annotations

from provision.payload.model import File

KVSTORE, APISERVER = "muster-kvstore", "muster-apiserver"
SCHEDULER, CONTROLLER_MANAGER = "muster-scheduler", "muster-controller-manager"
STATE_METRICS = "muster-state-metrics"
USERS = {
    KVSTORE: "Muster key-value store",
    APISERVER: "Muster API server",
    SCHEDULER: "Muster scheduler",
    CONTROLLER_MANAGER: "Muster controller manager",
    STATE_METRICS: "Muster state metrics",
}
# Serve their metrics with the machine's certificate, which the agents (root) use too.
COMPONENTS = "muster-component"
_MEMBERS = (SCHEDULER, CONTROLLER_MANAGER, STATE_METRICS)
SYSUSERS = "/etc/sysusers.d/muster.conf"

# Of a master's keys, by the end of the path. What is not named is root's.
_OWNERS = {
    "pki/etcd/server.key": KVSTORE,
    "pki/etcd/peer.key": KVSTORE,
    "pki/apiserver.key": APISERVER,
    "pki/apiserver-etcd-client.key": APISERVER,
    "pki/apiserver-kubelet-client.key": APISERVER,
    "scheduler.conf": SCHEDULER,
    "controller-manager.conf": CONTROLLER_MANAGER,
    "state-metrics.conf": STATE_METRICS,
}


def sysusers() -> File:
    """The users and groups of a master, as sysusers.d(5) has them made."""
    lines = [f"g {COMPONENTS} -"]
    lines += [f'u {user} - "{what}" /' for user, what in USERS.items()]
    lines += [f"m {user} {COMPONENTS}" for user in _MEMBERS]
    return File(SYSUSERS, ("\n".join(lines) + "\n").encode())


def owner_and_group(path: str) -> tuple[str, str]:
    """Of a file on a master."""
    if path.endswith("pki/component.key"):
        return "root", COMPONENTS
    owner = next((who for end, who in _OWNERS.items() if path.endswith(f"/{end}")), "root")
    return owner, owner
