"""The types of a lab file. Frozen, and unknown fields are refused.

The JSON schema in docs/lab.schema.json is generated from here, descriptions included.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

ProviderName = Literal["local", "vagrant", "ec2"]
TimerProfile = Literal["fast", "kubernetes"]
RuntimeName = Literal["muster", "containerd"]

# A lab's name becomes part of interface names, which the kernel cuts at 15 characters.
NAME_PATTERN = "^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$"
SIZE_PATTERN = "^[1-9][0-9]{0,9}(Mi|Gi|Ti)$"
DISK_PATTERN = "^([1-9][0-9]{0,9}(Mi|Gi|Ti)|none)$"
CIDR_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"
PORT_RANGE_PATTERN = "^[0-9]{1,5}-[0-9]{1,5}$"

Name = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        description="A DNS label of at most 12 characters: a-z, 0-9 and '-', first a letter.",
    ),
]
Size = Annotated[str, Meta(pattern=SIZE_PATTERN, description="A size such as 512Mi, 2Gi or 1Ti.")]
Cidr = Annotated[str, Meta(pattern=CIDR_PATTERN, description="An IPv4 network: 10.200.0.0/24.")]
Cpus = Annotated[float, Meta(gt=0, le=256, description="Processors; fractions are allowed.")]
PortRange = Annotated[
    str, Meta(pattern=PORT_RANGE_PATTERN, description="A range of ports such as 30000-32767.")
]

Seconds = Annotated[float, Meta(gt=0)]
Passed = Annotated[
    dict[str, str | int | float | bool],
    Meta(description="Options that go to Vagrant's own provider as they are."),
]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of every stanza: frozen, camelCase outside, unknown fields refused."""


class MachineSize(Strict, frozen=True):
    """How large one machine is."""

    cpus: Cpus = 2
    memory: Size = "2Gi"
    disk: Size | UnsetType = UNSET


MachineCount = Annotated[int, Meta(ge=0, le=200, description="How many, all of the default size.")]
Machines = MachineCount | Annotated[list[MachineSize], Meta(max_length=200)]


class Network(
    Strict,
    frozen=True,
    rename={
        "pod_cidr": "podCIDR",
        "service_cidr": "serviceCIDR",
        "node_port_range": "nodePortRange",
        "proxy_mode": "proxyMode",
    },
):
    """The lab's networks. They must not overlap."""

    subnet: Cidr | UnsetType = UNSET
    pod_cidr: Cidr = "10.244.0.0/16"
    service_cidr: Cidr = "10.96.0.0/16"
    node_port_range: PortRange = "30000-32767"
    proxy_mode: Annotated[
        Literal["iptables", "nftables"],
        Meta(description="How kube-proxy writes its rules; docs/proxy.md compares the two."),
    ] = "iptables"


class LocalOptions(Strict, frozen=True):
    """Machines as system containers on this Linux box."""

    disk: Annotated[
        str,
        Meta(
            pattern=DISK_PATTERN,
            description="The disk of a machine that names no size of its own; none: the host's.",
        ),
    ] = "10Gi"
    pids: Annotated[
        int,
        Meta(ge=256, le=4_194_304, description="Processes and threads that one machine may have."),
    ] = 8192


BackendSettings = Annotated[
    dict[str, str | int | float | bool],
    Meta(description="Handed to Vagrant's configuration of that back end as it is: driver, ..."),
]


class VagrantOptions(Strict, frozen=True):
    """Virtual machines by Vagrant."""

    box: str | UnsetType = UNSET
    backend: Literal["libvirt", "virtualbox"] | UnsetType = UNSET
    guest: (
        Annotated[
            str,
            Meta(
                pattern="^[a-z][a-z0-9_]*$",
                description="What the box is, such as debian; left out, Vagrant finds out.",
            ),
        ]
        | UnsetType
    ) = UNSET
    insert_key: bool | UnsetType = UNSET
    boot_seconds: Seconds | UnsetType = UNSET
    halt_seconds: Seconds | UnsetType = UNSET
    libvirt: Passed | UnsetType = UNSET
    virtualbox: Passed | UnsetType = UNSET


class Ec2Options(Strict, frozen=True):
    """EC2 instances. What is left out follows AWS's own configuration, or Debian's images."""

    region: str | UnsetType = UNSET
    profile: str | UnsetType = UNSET
    endpoint_url: str | UnsetType = UNSET
    image: Annotated[str, Meta(description="AMI id; left out: Debian 12's.")] | UnsetType = UNSET
    instance_type: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    ingress: list[Cidr] | UnsetType = UNSET
    ports: list[Annotated[int, Meta(ge=1, le=65535)]] | UnsetType = UNSET
    boot_seconds: Seconds | UnsetType = UNSET


class Spec(Strict, frozen=True):
    """What the lab consists of."""

    masters: Machines = 1
    workers: Machines = 2
    provider: Annotated[ProviderName, Meta(description="Who makes the machines.")] = "local"
    local: LocalOptions | UnsetType = UNSET
    vagrant: VagrantOptions | UnsetType = UNSET
    ec2: Ec2Options | UnsetType = UNSET
    network: Network = Network()
    timers: Annotated[
        TimerProfile,
        Meta(description="fast: for drills. kubernetes: upstream's defaults."),
    ] = "fast"
    runtime: Annotated[RuntimeName, Meta(description="Which CRI runtime the kubelets drive.")] = (
        "muster"
    )
    images: Annotated[
        list[str],
        Meta(description="Image archives (OCI layout or docker save) to load on every machine."),
    ] = []


class Metadata(Strict, frozen=True):
    """Which lab this is."""

    name: Name = "default"


class Lab(Strict, frozen=True):
    """A lab file."""

    api_version: Literal["muster/v1"]
    kind: Literal["Lab"]
    metadata: Metadata = Metadata()
    spec: Spec = Spec()
