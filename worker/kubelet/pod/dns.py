"""resolv.conf and /etc/hosts of a pod, by its dnsPolicy and hostAliases. Pure.

Follows upstream's `network/dns/dns.go` and `kubelet_pods.managedHostsFileContent`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kube.api import core

MAX_SEARCHES = 32
MAX_NAMESERVERS = 3


@dataclass(frozen=True, slots=True)
class Resolver:
    """The content of a resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """`--cluster-dns` and `--cluster-domain`, and the machine's own resolv.conf."""

    servers: tuple[str, ...]
    domain: str
    host: Resolver


def parse_resolv_conf(text: str) -> Resolver:
    """The last `search` line counts, as for the C library."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(word.rstrip(".") or "." for word in words[1:])
        elif words[0] == "options":
            options = tuple(words[1:])
    return Resolver(tuple(servers), searches, options)


def pod_resolver(pod: core.Pod, dns: ClusterDns) -> Resolver:
    base = _by_policy(pod, dns)
    extra = pod.spec.dns_config
    if extra is None:
        return base
    options = {_name(option): option for option in base.options}
    for option in extra.options:
        options[option.name] = f"{option.name}:{option.value}" if option.value else option.name
    return Resolver(
        _unique(base.servers + extra.nameservers)[:MAX_NAMESERVERS],
        _unique(base.searches + extra.searches)[:MAX_SEARCHES],
        tuple(options.values()),
    )


def _by_policy(pod: core.Pod, dns: ClusterDns) -> Resolver:
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "None":
        return Resolver()
    on_host_network = bool(pod.spec.host_network) and policy == "ClusterFirst"
    if policy == "Default" or on_host_network or not dns.servers:
        return dns.host
    searches = _unique((*_cluster_searches(pod, dns.domain), *dns.host.searches))
    return Resolver(dns.servers[:MAX_NAMESERVERS], searches[:MAX_SEARCHES], ("ndots:5",))


def _cluster_searches(pod: core.Pod, domain: str) -> tuple[str, ...]:
    if not domain:
        return ()
    return (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)


def _name(option: str) -> str:
    return option.partition(":")[0]


def _unique(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def pod_hostname(pod: core.Pod) -> str:
    return (pod.spec.hostname or pod.metadata.name)[:63].rstrip("-.")


def hosts_file(pod: core.Pod, ips: tuple[str, ...], domain: str, host_text: str) -> str:
    """The managed /etc/hosts: the machine's own for the host network, else one for the pod."""
    if pod.spec.host_network:
        text = "# Kubernetes-managed hosts file (host network).\n" + host_text
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::\tip6-localnet",
            "fe00::\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        lines += [f"{ip}\t{_host_names(pod, domain)}" for ip in ips]
        text = "\n".join(lines) + "\n"
    return text + _aliases(pod)


def _host_names(pod: core.Pod, domain: str) -> str:
    name = pod_hostname(pod)
    if not pod.spec.subdomain:
        return name
    return f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}\t{name}"


def _aliases(pod: core.Pod) -> str:
    if not pod.spec.host_aliases:
        return ""
    lines = ["", "# Entries added by HostAliases."]
    lines += ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"
