"""The whole ruleset: fragments of all services between the fixed rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as concatenated

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy import names
from worker.proxy.endpoints import OwnNode
from worker.proxy.rendered import RenderedService, rendered
from worker.proxy.rules import Fragment, render
from worker.proxy.sections import Rules
from worker.proxy.text import TO_LOCAL, rule

# table -> chain -> its rules, each as iptables-save prints it.
Tables = Mapping[str, Mapping[str, Rules]]

FILTER, NAT, MANGLE = "filter", "nat", "mangle"
_NEW = "-m conntrack --ctstate NEW"


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags say about the rules."""

    cluster_cidr: str = ""
    masquerade_bit: int = 14
    random_fully: bool = True
    localhost_node_ports: bool = True

    @property
    def mark(self) -> str:
        return f"0x{1 << self.masquerade_bit:x}"


@dataclass(frozen=True, slots=True)
class Jump:
    """A rule in a built-in chain that leads into one of ours."""

    table: str
    chain: str
    target: str
    comment: str = ""
    match: str = ""

    @property
    def rule(self) -> str:
        comment = f'-m comment --comment "{self.comment}"' if self.comment else ""
        words = (f"-A {self.chain}", self.match, comment, f"-j {self.target}")
        return " ".join(word for word in words if word)


_PORTALS = "kubernetes service portals"
_EXTERNAL = "kubernetes externally-visible service portals"
_LOAD_BALANCER = "kubernetes load balancer firewall"

# In the order in which they are put in front, so the last one of a chain is its first rule.
JUMPS: tuple[Jump, ...] = (
    Jump(FILTER, "INPUT", names.FIREWALL),
    Jump(FILTER, "OUTPUT", names.FIREWALL),
    Jump(FILTER, "INPUT", names.EXTERNAL_SERVICES, _EXTERNAL, _NEW),
    Jump(FILTER, "FORWARD", names.EXTERNAL_SERVICES, _EXTERNAL, _NEW),
    Jump(FILTER, "INPUT", names.NODE_PORTS, "kubernetes health check service ports"),
    Jump(FILTER, "FORWARD", names.SERVICES, _PORTALS, _NEW),
    Jump(FILTER, "OUTPUT", names.SERVICES, _PORTALS, _NEW),
    Jump(FILTER, "FORWARD", names.FORWARD, "kubernetes forwarding rules"),
    Jump(FILTER, "INPUT", names.PROXY_FIREWALL, _LOAD_BALANCER, _NEW),
    Jump(FILTER, "OUTPUT", names.PROXY_FIREWALL, _LOAD_BALANCER, _NEW),
    Jump(FILTER, "FORWARD", names.PROXY_FIREWALL, _LOAD_BALANCER, _NEW),
    Jump(NAT, "OUTPUT", names.SERVICES, _PORTALS),
    Jump(NAT, "PREROUTING", names.SERVICES, _PORTALS),
    Jump(NAT, "POSTROUTING", names.POSTROUTING, "kubernetes postrouting rules"),
)


def render_service(
    service: Service | None, slices: Sequence[EndpointSlice], node: OwnNode, options: Options
) -> RenderedService[Fragment]:
    return rendered(service, slices, node, lambda port, to: render(port, to, options.cluster_cidr))


def assemble(services: Mapping[str, RenderedService[Fragment]], options: Options) -> Tables:
    """The chains of all tables. Services are taken by name, so equal input gives equal text."""
    fragments = [part for key in sorted(services) for part in services[key].fragments]
    chains: dict[str, Rules] = {
        names.NODE_PORTS: _joined(part.node_ports for part in fragments),
        names.SERVICES: (*_joined(part.services for part in fragments), _to_node_ports(options)),
        names.POSTROUTING: _postrouting(options),
        names.MARK_MASQ: (
            rule(names.MARK_MASQ, f"MARK --set-xmark {options.mark}/{options.mark}"),
        ),
        names.CANARY: (),
    }
    for part in fragments:
        chains.update(part.chains)
    return {
        FILTER: _filter(fragments, options),
        NAT: chains,
        MANGLE: {names.CANARY: ()},
    }


def _joined(parts: Iterable[Rules]) -> Rules:
    return tuple(concatenated.from_iterable(parts))


def _filter(fragments: Sequence[Fragment], options: Options) -> dict[str, Rules]:
    return {
        names.NODE_PORTS: _joined(part.filter_node_ports for part in fragments),
        names.SERVICES: _joined(part.filter_services for part in fragments),
        names.EXTERNAL_SERVICES: _joined(part.filter_external for part in fragments),
        names.FIREWALL: _firewall(options),
        names.FORWARD: _forward(options),
        names.PROXY_FIREWALL: _joined(part.filter_firewall for part in fragments),
        names.CANARY: (),
    }


def _to_node_ports(options: Options) -> str:
    return rule(
        names.SERVICES,
        names.NODE_PORTS,
        comment="kubernetes service nodeports; NOTE: this must be the last rule in this chain",
        destination="" if options.localhost_node_ports else "! 127.0.0.0/8",
        match=TO_LOCAL,
    )


def _postrouting(options: Options) -> Rules:
    mark = options.mark
    return (
        rule(names.POSTROUTING, "RETURN", match=f"-m mark ! --mark {mark}/{mark}"),
        # Taken off again: the packet may pass here once more, in a tunnel.
        rule(names.POSTROUTING, f"MARK --set-xmark {mark}/0x0"),
        rule(
            names.POSTROUTING,
            "MASQUERADE --random-fully" if options.random_fully else "MASQUERADE",
            comment="kubernetes service traffic requiring SNAT",
        ),
    )


def _firewall(options: Options) -> Rules:
    if not options.localhost_node_ports:
        return ()
    # route_localnet lets node ports answer on 127.0.0.1; nobody else may come in by it
    # (CVE-2020-8558).
    return (
        rule(
            names.FIREWALL,
            "DROP",
            comment="block incoming localnet connections",
            source="! 127.0.0.0/8",
            destination="127.0.0.0/8",
            match="-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT",
        ),
    )


def _forward(options: Options) -> Rules:
    mark = options.mark
    return (
        # A packet that conntrack does not know would leave without its address translated
        # back, and the peer would reset the connection.
        rule(names.FORWARD, "DROP", match="-m conntrack --ctstate INVALID"),
        rule(
            names.FORWARD,
            "ACCEPT",
            comment="kubernetes forwarding rules",
            match=f"-m mark --mark {mark}/{mark}",
        ),
        rule(
            names.FORWARD,
            "ACCEPT",
            comment="kubernetes forwarding conntrack rule",
            match="-m conntrack --ctstate RELATED,ESTABLISHED",
        ),
    )
