"""The control plane's units: store, api-server, scheduler, controller-manager."""

from __future__ import annotations

from kube.component.timers import PROFILES, Timers
from provision.identities import LabRecord
from provision.payload.hardening import service
from provision.payload.model import KUBERNETES, PKI, Flags, Unit, arguments
from provision.payload.owners import (
    APISERVER,
    COMPONENTS,
    CONTROLLER_MANAGER,
    KVSTORE,
    SCHEDULER,
    STATE_METRICS,
)
from provision.payload.units import module
from provision.providers.base import MachineSpec

REST_PORT, GRPC_PORT = 6443, 6444
# A master's role label, and its taint.
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
KVSTORE_DATA = "/var/lib/muster/kvstore"


def timers(record: LabRecord) -> Timers:
    return PROFILES[record.lab.spec.timers]


def own_first(record: LabRecord, machine: MachineSpec) -> list[MachineSpec]:
    """The masters as this machine should try them: itself first, else another start for each."""
    masters = list(record.masters)
    start = record.machines.index(machine) % len(masters)
    return masters[start:] + masters[:start]


def api_servers(record: LabRecord, machine: MachineSpec) -> str:
    return ",".join(f"{m.address}:{GRPC_PORT}" for m in own_first(record, machine))


def pair(name: str) -> tuple[str, str]:
    return f"{PKI}/{name}.crt", f"{PKI}/{name}.key"


def component_tls() -> Flags:
    """Where a component serves its metrics and health: its own certificate, the cluster's CA."""
    cert, key = pair("component")
    return {
        "tls-cert-file": cert,
        "tls-private-key-file": key,
        "client-ca-file": f"{PKI}/ca.crt",
    }


def initial_cluster(record: LabRecord) -> str:
    return ",".join(f"{m.name}=https://{m.address}:2380" for m in record.masters)


COMPONENT_FILES = (*pair("component"), f"{PKI}/ca.crt")


def kvstore(record: LabRecord, machine: MachineSpec) -> Unit:
    address = machine.address
    server, peer = pair("etcd/server"), pair("etcd/peer")
    ca = f"{PKI}/etcd/ca.crt"
    flags: Flags = {
        "name": machine.name,
        "data-dir": KVSTORE_DATA,
        "listen-client-urls": f"https://{address}:2379,https://127.0.0.1:2379",
        "advertise-client-urls": f"https://{address}:2379",
        "listen-peer-urls": f"https://{address}:2380",
        "initial-advertise-peer-urls": f"https://{address}:2380",
        "initial-cluster": initial_cluster(record),
        "initial-cluster-state": "new",
        "initial-cluster-token": f"muster-{record.name}",
        "cert-file": server[0],
        "key-file": server[1],
        "trusted-ca-file": ca,
        "client-cert-auth": None,
        "peer-cert-file": peer[0],
        "peer-key-file": peer[1],
        "peer-trusted-ca-file": ca,
        "peer-client-cert-auth": None,
        "listen-metrics-urls": f"https://{address}:2381",
    }
    return Unit(
        name="muster-kvstore",
        description="Muster key-value store (etcd's role)",
        command=module("master.kvstore", arguments(flags)),
        inputs=(*server, *peer, ca),
        service=service(KVSTORE, state="muster/kvstore"),
    )


def apiserver(record: LabRecord, machine: MachineSpec) -> Unit:
    network, profile = record.lab.spec.network, timers(record)
    serving, store, kubelet = (
        pair(name) for name in ("apiserver", "apiserver-etcd-client", "apiserver-kubelet-client")
    )
    flags: Flags = {
        "etcd-servers": ",".join(f"https://{m.address}:2379" for m in own_first(record, machine)),
        "etcd-cafile": f"{PKI}/etcd/ca.crt",
        "etcd-certfile": store[0],
        "etcd-keyfile": store[1],
        "bind-address": "0.0.0.0",  # noqa: S104 - the floating address comes and goes
        "advertise-address": machine.address,
        "secure-port": REST_PORT,
        "grpc-port": GRPC_PORT,
        "tls-cert-file": serving[0],
        "tls-private-key-file": serving[1],
        "client-ca-file": f"{PKI}/ca.crt",
        "kubelet-client-certificate": kubelet[0],
        "kubelet-client-key": kubelet[1],
        "kubelet-certificate-authority": f"{PKI}/ca.crt",
        "service-cluster-ip-range": network.service_cidr,
        "service-node-port-range": network.node_port_range,
        "default-not-ready-toleration-seconds": profile.default_not_ready_toleration,
        "default-unreachable-toleration-seconds": profile.default_unreachable_toleration,
    }
    own = f"{PKI}/etcd/ca.crt", f"{PKI}/ca.crt"
    return Unit(
        name="muster-apiserver",
        description="Muster API server",
        command=module("master.apiserver", arguments(flags)),
        inputs=(*serving, *store, *kubelet, *own),
        service=service(APISERVER),
        after=("muster-kvstore.service",),
    )


def _elected(
    record: LabRecord,
    machine: MachineSpec,
    conf: str,
    port: int,
    listen: tuple[str, str] = ("bind-address", "secure-port"),
) -> Flags:
    profile = timers(record)
    return {
        "kubeconfig": f"{KUBERNETES}/{conf}",
        "api-servers": api_servers(record, machine),
        listen[0]: machine.address,
        listen[1]: port,
        **component_tls(),
        "leader-elect-lease-duration": profile.leader_elect_lease_duration,
        "leader-elect-renew-deadline": profile.leader_elect_renew_deadline,
        "leader-elect-retry-period": profile.leader_elect_retry_period,
    }


def scheduler(record: LabRecord, machine: MachineSpec) -> Unit:
    flags = _elected(record, machine, "scheduler.conf", 10259)
    return Unit(
        name="muster-scheduler",
        description="Muster scheduler",
        command=module("master.scheduler", arguments(flags)),
        inputs=(f"{KUBERNETES}/scheduler.conf", *COMPONENT_FILES),
        service=service(SCHEDULER, group=COMPONENTS),
        after=("muster-apiserver.service",),
    )


def controller_manager(record: LabRecord, machine: MachineSpec) -> Unit:
    network, profile = record.lab.spec.network, timers(record)
    flags = _elected(record, machine, "controller-manager.conf", 10257) | {
        "node-monitor-period": profile.node_monitor_period,
        "node-monitor-grace-period": profile.node_monitor_grace_period,
        "node-startup-grace-period": profile.node_startup_grace_period,
        "cluster-cidr": network.pod_cidr,
        "service-cluster-ip-range": network.service_cidr,
        "node-cidr-mask-size": 24,
        "root-ca-file": f"{PKI}/ca.crt",
    }
    return Unit(
        name="muster-controller-manager",
        description="Muster controller manager",
        command=module("master.controllers", arguments(flags)),
        inputs=(f"{KUBERNETES}/controller-manager.conf", *COMPONENT_FILES),
        service=service(CONTROLLER_MANAGER, group=COMPONENTS),
        after=("muster-apiserver.service",),
    )


def state_metrics(record: LabRecord, machine: MachineSpec) -> Unit:
    flags = _elected(record, machine, "state-metrics.conf", 8080, ("host", "port"))
    return Unit(
        name="muster-state-metrics",
        description="Muster state metrics (kube-state-metrics' role)",
        command=module(
            "master.statemetrics",
            arguments(flags | {"telemetry-host": machine.address, "telemetry-port": 8081}),
        ),
        inputs=(f"{KUBERNETES}/state-metrics.conf", *COMPONENT_FILES),
        service=service(STATE_METRICS, group=COMPONENTS),
        after=("muster-apiserver.service",),
    )


MASTER_UNITS = (kvstore, apiserver, scheduler, controller_manager, state_metrics)


def master_units(record: LabRecord, machine: MachineSpec) -> list[Unit]:
    return [build(record, machine) for build in MASTER_UNITS]
