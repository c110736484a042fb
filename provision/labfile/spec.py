"""The types of a lab file. Frozen, and unknown fields are refused.

The JSON schema in docs/lab.schema.json is generated from here, descriptions included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, defstruct

from provision.labfile.base import Cidr, Cpus, Name, PortRange, Size, Strict
from provision.providers import PROVIDERS, declared
from provision.providers.declaration import ProviderOptions

if TYPE_CHECKING:
    ProviderName = str
else:
    ProviderName = Literal[tuple(PROVIDERS)]

TimerProfile = Literal["fast", "kubernetes"]
RuntimeName = Literal["muster", "containerd"]


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


class BaseSpec(Strict, frozen=True):
    """What a lab consists of, but for the stanzas of providers."""

    masters: Machines = 1
    workers: Machines = 2
    provider: Annotated[ProviderName, Meta(description="Who makes the machines.")] = PROVIDERS[0]
    network: Network = Network()
    timers: Annotated[
        TimerProfile,
        Meta(description="fast: for drills. kubernetes: upstream's defaults."),
    ] = "fast"
    runtime: Annotated[RuntimeName, Meta(description="Which CRI runtime the kubelets drive.")] = (
        "muster"
    )
    monitoring: Annotated[
        bool,
        Meta(description="Whether a Prometheus on this host watches the lab; docs/monitoring.md."),
    ] = True
    images: Annotated[
        list[str],
        Meta(description="Image archives (OCI layout or docker save) to load on every machine."),
    ] = []  # noqa: RUF012 - msgspec gives each its own


if TYPE_CHECKING:

    class Spec(BaseSpec, frozen=True):
        """With a stanza for each provider, of its name (see `stanza`)."""
else:
    Spec = defstruct(
        "Spec",
        [(name, declared(name).options | UnsetType, UNSET) for name in PROVIDERS],
        bases=(BaseSpec,),
        namespace={"__doc__": "What the lab consists of."},
        module=__name__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        rename="camel",
    )


def stanza(spec: Spec, provider: str) -> Any:
    """The options of a provider as they were given; UNSET where they were not."""
    return getattr(spec, provider)


def provider_options(spec: Spec) -> ProviderOptions:
    """Those of the provider that makes the lab, defaults included."""
    given = stanza(spec, spec.provider)
    options: ProviderOptions = declared(spec.provider).options() if given is UNSET else given
    return options


class Metadata(Strict, frozen=True):
    """Which lab this is."""

    name: Name = "default"


class Lab(Strict, frozen=True):
    """A lab file."""

    api_version: Literal["muster/v1"]
    kind: Literal["Lab"]
    metadata: Metadata = Metadata()
    spec: Spec = Spec()
