"""What Services own: cluster IPs and node ports.

Pure: what is taken and the random choice come in.
"""

from __future__ import annotations

from collections.abc import Set
from ipaddress import ip_address

from msgspec.structs import replace

from kube.api.core import Service, ServicePort
from kube.api.meta import StatusCause
from master.apiserver.kinds.kind import Causes, Choose, Claims, Exhausted, Taken
from master.apiserver.kinds.settings import Ranges, Settings
from master.apiserver.registry.validation import field

_ATTEMPTS = 64
EXTERNAL_TYPES = ("NodePort", "LoadBalancer")
CLUSTER_IPS = "ipaddresses/"
NODE_PORTS = "nodeports/"


def needs_ip(service: Service) -> bool:
    return service.spec.type != "ExternalName" and not service.spec.cluster_ip


def needs_ports(service: Service) -> bool:
    return service.spec.type in EXTERNAL_TYPES and any(
        not port.node_port for port in service.spec.ports
    )


def owned(service: Service) -> frozenset[str]:
    """The claims of what this service owns."""
    spec = service.spec
    keys = {f"{NODE_PORTS}{port.node_port}" for port in spec.ports if port.node_port}
    if spec.cluster_ip not in ("", "None"):
        keys.add(f"{CLUSTER_IPS}{spec.cluster_ip}")
    return frozenset(keys)


def allocate(
    service: Service, ranges: Ranges, taken_ips: Set[str], taken_ports: Set[str], choose: Choose
) -> Service:
    """Fill in the missing cluster IP and node ports. Raises Exhausted."""
    spec = service.spec
    if needs_ip(service):
        address = _free_ip(ranges, taken_ips, choose)
        spec = replace(spec, cluster_ip=address, cluster_ips=(address,))
    elif spec.cluster_ip and not spec.cluster_ips:
        spec = replace(spec, cluster_ips=(spec.cluster_ip,))
    if needs_ports(service):
        used = {str(port.node_port) for port in spec.ports if port.node_port}
        ports: list[ServicePort] = []
        for port in spec.ports:
            if not port.node_port:
                number = _free_port(ranges, taken_ports | used, choose)
                used.add(str(number))
                port = replace(port, node_port=number)
            ports.append(port)
        spec = replace(spec, ports=tuple(ports))
    return replace(service, spec=spec)


def _free_ip(ranges: Ranges, taken: Set[str], choose: Choose) -> str:
    network = ranges.cluster_ips
    # The network and broadcast addresses are no hosts, and the first belongs to `kubernetes`.
    first, count = 2, network.num_addresses - 3
    for _ in range(_ATTEMPTS):
        candidate = str(network[first + choose(count)])
        if candidate not in taken:
            return candidate
    for index in range(first, first + count):
        if (candidate := str(network[index])) not in taken:
            return candidate
    raise Exhausted("failed to allocate a serviceIP: range is full")


def _free_port(ranges: Ranges, taken: Set[str], choose: Choose) -> int:
    ports = ranges.node_ports
    for _ in range(_ATTEMPTS):
        candidate = ports[choose(len(ports))]
        if str(candidate) not in taken:
            return candidate
    for candidate in ports:
        if str(candidate) not in taken:
            return candidate
    raise Exhausted("failed to allocate a nodePort: range is full")


def judge(service: Service, settings: Settings) -> Causes:
    """What the user chose outside of the ranges."""
    ranges, causes = settings.ranges, Causes()
    address = service.spec.cluster_ip
    if address not in ("", "None") and not _lies_in(address, ranges):
        text = (
            f"failed to allocate IP {address}: the provided network does not match the current "
            "range"
        )
        causes.append(field.invalid("spec.clusterIPs", [address], text))
    ports = ranges.node_ports
    text = (
        "provided port is not in the valid range. The range of valid ports is "
        f"{ports.start}-{ports.stop - 1}"
    )
    for index, port in enumerate(service.spec.ports):
        if port.node_port and port.node_port not in ports:
            causes.append(field.invalid(f"spec.ports[{index}].nodePort", port.node_port, text))
    return causes


def _lies_in(address: str, ranges: Ranges) -> bool:
    try:
        # An address of the other family lies in no network of this one.
        return ip_address(address) in ranges.cluster_ips
    except ValueError:
        return True  # no IP address at all: validation says so


def fill(service: Service, settings: Settings, taken: Taken, choose: Choose) -> Service:
    return allocate(service, settings.ranges, taken[CLUSTER_IPS], taken[NODE_PORTS], choose)


def refused(claim: str) -> StatusCause:
    value = claim.rpartition("/")[2]
    if claim.startswith(CLUSTER_IPS):
        text = f"failed to allocate IP {value}: provided IP is already allocated"
        return field.invalid("spec.clusterIPs", [value], text)
    return field.invalid("spec.ports[0].nodePort", int(value), "provided port is already allocated")


CLAIMS = Claims(
    prefixes=(CLUSTER_IPS, NODE_PORTS), owned=owned, judge=judge, fill=fill, refused=refused
)
