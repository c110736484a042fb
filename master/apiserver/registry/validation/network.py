"""Validation of what a pod says of names and addresses: hosts, DNS, ports. Pure."""

from __future__ import annotations

from kube.api.core import Container, HostAlias, PodDNSConfig, PodSpec, PodStatus
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_subdomain

Causes = list[StatusCause]
MAX_NAMESERVERS, MAX_SEARCHES, MAX_SEARCH_CHARACTERS = 3, 32, 2048
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def validate_network(spec: PodSpec, path: str) -> Causes:
    causes = _host_aliases(spec.host_aliases, f"{path}.hostAliases")
    config = spec.dns_config
    if spec.dns_policy == "None" and (config is None or not config.nameservers):
        text = "must provide `dnsConfig` when `dnsPolicy` is None"
        if config is not None:
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        causes.append(field.required(f"{path}.dnsConfig", text))
    if config is not None:
        causes += _dns_config(config, f"{path}.dnsConfig")
    return causes


def _host_aliases(aliases: tuple[HostAlias, ...], path: str) -> Causes:
    causes: Causes = []
    for index, alias in enumerate(aliases):
        causes += formats.ip(f"{path}[{index}].ip", alias.ip)
        for number, name in enumerate(alias.hostnames):
            if why := dns_subdomain(name):
                causes.append(field.invalid(f"{path}[{index}].hostnames[{number}]", name, why))
    return causes


def _dns_config(config: PodDNSConfig, path: str) -> Causes:
    causes: Causes = []
    if len(config.nameservers) > MAX_NAMESERVERS:
        text = f"must not have more than {MAX_NAMESERVERS} nameservers"
        causes.append(field.invalid(f"{path}.nameservers", list(config.nameservers), text))
    for index, server in enumerate(config.nameservers[: MAX_NAMESERVERS + 1]):
        causes += formats.ip(f"{path}.nameservers[{index}]", server)
    if len(config.searches) > MAX_SEARCHES:
        text = f"must not have more than {MAX_SEARCHES} search paths"
        causes.append(field.invalid(f"{path}.searches", len(config.searches), text))
    if len(" ".join(config.searches)) > MAX_SEARCH_CHARACTERS:
        text = (
            f"must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in "
            "the search list"
        )
        causes.append(field.invalid(f"{path}.searches", len(config.searches), text))
    for index, search in enumerate(config.searches[: MAX_SEARCHES + 1]):
        # A search path may end in a dot, be one, and have parts that begin with an underscore.
        bare = search.removesuffix(".").replace("_", "")
        if search != "." and (why := dns_subdomain(bare)):
            causes.append(field.invalid(f"{path}.searches[{index}]", search, why))
    for index, option in enumerate(config.options):
        here = f"{path}.options[{index}]"
        if not option.name:
            causes.append(field.required(f"{here}.name"))
        causes += _word(f"{here}.name", option.name) + _word(f"{here}.value", option.value)
    return causes


def _word(path: str, text: str) -> Causes:
    """It stands on a line of words (resolv.conf)."""
    if len(text.split()) > 1 or text != text.strip():
        return [field.invalid(path, text, "must not contain whitespace")]
    return formats.one_line(path, text)


def validate_container_ports(container: Container, path: str, spec: PodSpec) -> Causes:
    causes: Causes = []
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        here = f"{path}.ports[{index}]"
        if not port.container_port:
            causes.append(field.required(f"{here}.containerPort"))
        else:
            causes += formats.port(f"{here}.containerPort", port.container_port)
        if port.host_port:
            causes += formats.port(f"{here}.hostPort", port.host_port)
            if spec.host_network and port.host_port != port.container_port:
                text = "must match `hostPort` when `hostNetwork` is true"
                causes.append(field.invalid(f"{here}.containerPort", port.container_port, text))
        if port.host_ip:
            causes += formats.ip(f"{here}.hostIP", port.host_ip)
        if port.protocol not in _PROTOCOLS:
            wrong = field.not_supported(f"{here}.protocol", port.protocol, _PROTOCOLS)
            causes.append(wrong if port.protocol else field.required(f"{here}.protocol"))
        if port.name and (why := formats.port_name(port.name)):
            causes.append(field.invalid(f"{here}.name", port.name, why))
        elif port.name and port.name in names:
            causes.append(field.duplicate(f"{here}.name", port.name))
        names.add(port.name)
    return causes


def validate_host_ports(spec: PodSpec, path: str) -> Causes:
    """Two containers of a pod cannot have the same port of the host."""
    causes: Causes = []
    taken: set[tuple[str, str, int]] = set()
    for number, container in enumerate(spec.containers):
        for index, port in enumerate(container.ports):
            if not port.host_port:
                continue
            key = (port.protocol, port.host_ip, port.host_port)
            if key in taken:
                here = f"{path}.containers[{number}].ports[{index}].hostPort"
                shown = f"{port.protocol}/{port.host_ip}/{port.host_port}"
                causes.append(field.duplicate(here, shown))
            taken.add(key)
    return causes


def validate_pod_status(status: PodStatus) -> Causes:
    """What a kubelet reports goes into endpoints and so into the rules of every node."""
    causes: Causes = []
    for name, addresses in (
        ("podIP", (status.pod_ip,)),
        ("hostIP", (status.host_ip,)),
        ("podIPs", tuple(entry.ip for entry in status.pod_ips)),
        ("hostIPs", tuple(entry.ip for entry in status.host_ips)),
    ):
        for address in addresses:
            if address:
                causes += formats.ip(f"status.{name}", address)
    if len(status.pod_ips) > 2:
        text = "may specify no more than one IP for each IP family"
        causes.append(field.invalid("status.podIPs", len(status.pod_ips), text))
    if status.nominated_node_name and (why := dns_subdomain(status.nominated_node_name)):
        causes.append(field.invalid("status.nominatedNodeName", status.nominated_node_name, why))
    return causes
