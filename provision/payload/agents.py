"""The units of every machine: runtime, kubelet, proxy, network."""

from __future__ import annotations

from provision.identities import LabRecord
from provision.payload.hardening import KUBELET, RUNTIME, network_agent
from provision.payload.masters import (
    COMPONENT_FILES,
    CONTROL_PLANE,
    api_servers,
    component_tls,
    pair,
    timers,
)
from provision.payload.model import CONFIG, KUBERNETES, PKI, Flags, Unit, arguments
from provision.payload.units import module
from provision.providers.base import MachineSpec

CNI_CONF_DIR = "/etc/cni/net.d"
CNI_BIN_DIR = "/usr/lib/cni"
RUNTIME_SOCKET = "unix:///run/muster/runtime.sock"
CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
MACHINE_INFO = f"{CONFIG}/machine.json"
CONTAINERD_CONFIG = f"{CONFIG}/containerd.toml"

# Of a runtime, because containers inherit it: systemd's own default for services. The runtime
# itself takes what the second number allows.
_CONTAINERS_FILES = "LimitNOFILE=1024:524288"


def runtime(record: LabRecord, machine: MachineSpec) -> Unit:
    """Our CRI server, or stock containerd where the lab file asks for it."""
    if record.lab.spec.runtime == "containerd":
        return _containerd()
    flags: Flags = {
        "listen": RUNTIME_SOCKET,
        "root": "/var/lib/muster/runtime",
        "state": "/run/muster/runtime",
        "oci-runtime": "/usr/bin/crun",
        "cni-conf-dir": CNI_CONF_DIR,
        "cni-bin-dir": CNI_BIN_DIR,
        "streaming-address": "127.0.0.1:0",
        "metrics-address": f"{machine.address}:10011",
        "api-servers": api_servers(record, machine),
        **component_tls(),
    }
    return Unit(
        name="muster-runtime",
        description="Muster container runtime (CRI)",
        command=module("worker.runtime", arguments(flags)),
        inputs=COMPONENT_FILES,
        # Containers outlive a restart of the runtime: only its main process is signalled.
        service=("KillMode=process", "Delegate=yes", _CONTAINERS_FILES, *RUNTIME),
    )


def _containerd() -> Unit:
    return Unit(
        name="muster-containerd",
        description="containerd for Muster's kubelet",
        command=("/usr/bin/containerd", "--config", CONTAINERD_CONFIG),
        inputs=(CONTAINERD_CONFIG,),
        service=("KillMode=process", "Delegate=yes", _CONTAINERS_FILES),
        python=False,
    )


def kubelet(record: LabRecord, machine: MachineSpec) -> Unit:
    profile = timers(record)
    stock = record.lab.spec.runtime == "containerd"
    serving = pair("kubelet")
    flags: Flags = {
        "kubeconfig": f"{KUBERNETES}/kubelet.conf",
        "api-servers": api_servers(record, machine),
        "hostname-override": machine.name,
        "node-ip": machine.address,
        "container-runtime-endpoint": CONTAINERD_SOCKET if stock else RUNTIME_SOCKET,
        "root-dir": "/var/lib/kubelet",
        "machine-info": MACHINE_INFO,
        "tls-cert-file": serving[0],
        "tls-private-key-file": serving[1],
        "client-ca-file": f"{PKI}/ca.crt",
        "port": 10250,
        "healthz-port": 10248,
        # Upstream's default is no limit. A fork bomb shall end in its pod; this many tasks are
        # more than any lab's workload has.
        "pod-max-pids": 1024,
        "eviction-pressure-transition-period": profile.eviction_pressure_transition_period,
        "node-lease-duration-seconds": profile.node_lease_duration,
        "node-lease-renew-interval": profile.node_lease_renew_interval,
        "node-status-update-frequency": profile.node_status_update_frequency,
    }
    if machine.role == "master":
        # Its label of that name is the administrator's to set (phases/ready.py), as with kubeadm:
        # no kubelet may say of itself that it is of the control plane.
        flags |= {"register-with-taints": f"{CONTROL_PLANE}=:NoSchedule"}
    return Unit(
        name="muster-kubelet",
        description="Muster kubelet",
        command=module("worker.kubelet", arguments(flags)),
        inputs=(f"{KUBERNETES}/kubelet.conf", *serving, f"{PKI}/ca.crt", MACHINE_INFO),
        after=(f"{runtime(record, machine).name}.service",),
        # Mounts that it makes for pods must outlive it; it runs no daemon of its own.
        service=("KillMode=process", "Delegate=yes", *KUBELET),
    )


def proxy(record: LabRecord, machine: MachineSpec) -> Unit:
    flags: Flags = {
        "kubeconfig": f"{KUBERNETES}/kube-proxy.conf",
        "api-servers": api_servers(record, machine),
        "hostname-override": machine.name,
        "cluster-cidr": record.lab.spec.network.pod_cidr,
        "proxy-mode": record.lab.spec.network.proxy_mode,
        "bind-address": machine.address,
        "metrics-port": 10249,
        "healthz-port": 10256,
        **component_tls(),
    }
    return Unit(
        name="muster-proxy",
        description="Muster service proxy",
        command=module("worker.proxy", arguments(flags)),
        inputs=(f"{KUBERNETES}/kube-proxy.conf", *COMPONENT_FILES),
        service=network_agent(),
    )


def network(record: LabRecord, machine: MachineSpec) -> Unit:
    flags: Flags = {
        "kubeconfig": f"{KUBERNETES}/network.conf",
        "api-servers": api_servers(record, machine),
        "node-name": machine.name,
        "cluster-cidr": record.lab.spec.network.pod_cidr,
        "cni-conf-dir": CNI_CONF_DIR,
        "bind-address": machine.address,
        "metrics-port": 10012,
        **component_tls(),
    }
    return Unit(
        name="muster-network",
        description="Muster pod network: routes between machines",
        command=module("worker.network", arguments(flags)),
        inputs=(f"{KUBERNETES}/network.conf", *COMPONENT_FILES),
        # It writes the CNI configuration, for the runtime to read.
        service=network_agent("ConfigurationDirectory=cni/net.d"),
    )


def agent_units(record: LabRecord, machine: MachineSpec) -> list[Unit]:
    return [build(record, machine) for build in (runtime, kubelet, proxy, network)]
