"""Which certificates a lab has: kubeadm's file names, users and groups, as a table.

Source of the names: kubeadm's constants and certs packages; `system:node-proxier` is the
ClusterRole that upstream binds to the user `system:kube-proxy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from kube.machinery.subjects import NODES, node_user
from provision.identities import LabRecord, service_address
from provision.pki.authority import LeafRequest
from provision.providers.base import MachineSpec

Authority = Literal["ca", "etcd/ca", "front-proxy-ca"]
AUTHORITIES: dict[Authority, str] = {
    "ca": "kubernetes-ca",
    "etcd/ca": "etcd-ca",
    "front-proxy-ca": "kubernetes-front-proxy-ca",
}
ADMINS = "kubeadm:cluster-admins"
HEALTHCHECK = LeafRequest("kube-etcd-healthcheck-client", client=True)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf certificate: its name in the state directory and what it says.

    `installed` is its place under /etc/kubernetes/pki; None where it travels inside a
    kubeconfig or stays on the provisioning host.
    """

    name: str
    authority: Authority
    request: LeafRequest
    installed: str | None = None


def host_leaves() -> list[Leaf]:
    """What stays with the user: the administrator's and the monitoring's certificates."""
    monitoring = LeafRequest("muster-monitoring", ("system:monitoring",), client=True)
    return [
        Leaf("admin", "ca", LeafRequest("kubernetes-admin", (ADMINS,), client=True)),
        Leaf("monitoring", "ca", monitoring),
        # The store knows only its own CA, also where it serves metrics. For etcdctl, kubeadm's
        # health-check certificate.
        Leaf("etcd/monitoring", "etcd/ca", monitoring),
        Leaf("etcd/healthcheck-client", "etcd/ca", HEALTHCHECK),
    ]


def machine_leaves(record: LabRecord, machine: MachineSpec) -> list[Leaf]:
    leaves = list(_every(machine))
    if machine.role == "master":
        leaves += [*_api_server(record, machine), *_store(machine), *_masters_clients(machine)]
    return leaves


def _every(machine: MachineSpec) -> Iterator[Leaf]:
    name = machine.name
    user = node_user(name)
    yield _client(machine, "kubelet-client", user, NODES)
    yield _client(machine, "kube-proxy", "system:kube-proxy", "system:node-proxier")
    yield _client(machine, "network", "system:muster:network", "system:node-proxier")
    serving = _serving(machine, user, (NODES,))
    yield Leaf(f"machines/{name}/kubelet", "ca", serving, "kubelet")
    # The container runtime also asks the api-servers with it: who may read its metrics.
    groups = ("system:muster:component",)
    component = replace(_serving(machine, "muster-component", groups, local=True), client=True)
    yield Leaf(f"machines/{name}/component", "ca", component, "component")


def _client(machine: MachineSpec, name: str, user: str, *groups: str) -> Leaf:
    """A client certificate that travels inside a kubeconfig."""
    request = LeafRequest(user, groups, client=True)
    return Leaf(f"machines/{machine.name}/{name}", "ca", request)


def _serving(
    machine: MachineSpec, user: str, groups: tuple[str, ...], *, local: bool = False
) -> LeafRequest:
    return LeafRequest(
        user,
        groups,
        dns_names=(machine.name, *(("localhost",) if local else ())),
        addresses=(machine.address, *(("127.0.0.1",) if local else ())),
        server=True,
    )


def _masters_clients(machine: MachineSpec) -> Iterator[Leaf]:
    yield _client(machine, "controller-manager", "system:kube-controller-manager")
    yield _client(machine, "scheduler", "system:kube-scheduler")
    yield _client(machine, "state-metrics", "system:muster:state-metrics")


def _api_server(record: LabRecord, machine: MachineSpec) -> Iterator[Leaf]:
    prefix = f"machines/{machine.name}"
    in_cluster = "kubernetes", "kubernetes.default", "kubernetes.default.svc"
    serving = LeafRequest(
        "kube-apiserver",
        dns_names=(*in_cluster, "kubernetes.default.svc.cluster.local", machine.name, "localhost"),
        addresses=(
            service_address(record.lab, 1),
            machine.address,
            *((record.vip,) if record.vip else ()),
            "127.0.0.1",
        ),
        server=True,
    )
    yield Leaf(f"{prefix}/apiserver", "ca", serving, "apiserver")
    to_kubelet = LeafRequest("kube-apiserver-kubelet-client", (ADMINS,), client=True)
    name = "apiserver-kubelet-client"
    yield Leaf(f"{prefix}/{name}", "ca", to_kubelet, name)
    front = LeafRequest("front-proxy-client", client=True)
    yield Leaf(f"{prefix}/front-proxy-client", "front-proxy-ca", front, "front-proxy-client")
    to_store = LeafRequest("kube-apiserver-etcd-client", client=True)
    name = "apiserver-etcd-client"
    yield Leaf(f"{prefix}/{name}", "etcd/ca", to_store, name)


def _store(machine: MachineSpec) -> Iterator[Leaf]:
    """etcd's server and peer certificates serve both ways: members also call each other."""
    for name in ("etcd/server", "etcd/peer"):
        both = LeafRequest(
            machine.name,
            dns_names=(machine.name, "localhost"),
            addresses=(machine.address, "127.0.0.1"),
            server=True,
            client=True,
        )
        yield Leaf(f"machines/{machine.name}/{name}", "etcd/ca", both, name)
    name = "etcd/healthcheck-client"
    yield Leaf(f"machines/{machine.name}/{name}", "etcd/ca", HEALTHCHECK, name)
