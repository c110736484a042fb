"""The mode nftables: names, transactions, and reading a listing back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy.endpoints import OwnNode
from worker.proxy.nft import names
from worker.proxy.nft.changes import changes, rebuilt
from worker.proxy.nft.listing import parse
from worker.proxy.nft.rules import Fragment, render
from worker.proxy.nft.table import COLLECTIONS, HOOKS, Table, assemble
from worker.proxy.rendered import RenderedService, rendered


def service(name: str = "svc1", ip: str = "172.30.0.41", **spec: Any) -> Service:
    return msgspec.convert(
        {
            "metadata": {"namespace": name.replace("svc", "ns"), "name": name},
            "spec": {"clusterIP": ip, "ports": [{"name": "p80", "port": 80}], **spec},
        },
        Service,
    )


def of(one: Service, *ips: str) -> RenderedService[Fragment]:
    slice_ = msgspec.convert(
        {
            "addressType": "IPv4",
            "metadata": {"namespace": one.metadata.namespace, "name": "x"},
            "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [ip], "nodeName": "w1"} for ip in ips],
        },
        EndpointSlice,
    )
    return rendered(one, [slice_], OwnNode("w1"), lambda port, to: render(port, to, "10.0.0.0/8"))


def table(**services: RenderedService[Fragment]) -> Table:
    return assemble(services, "0x00004000", ("192.168.0.2",))


def test_names_are_upstreams() -> None:
    """Pairs that kube-proxy's published dumps show."""
    chains = of(service(), "10.180.0.1").fragments[0].chains
    assert list(chains) == [
        "service-ULMVA6XW-ns1/svc1/tcp/p80",
        "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80",
    ]
    port = of(service("n" * 300)).ports[0]
    assert len(names.of_port(port)) == 240


def test_a_changed_service_writes_its_own_chains_and_elements_only() -> None:
    before = table(
        a=of(service(), "10.180.0.1"), b=of(service("svc2", "172.30.0.42"), "10.180.0.2")
    )
    after = table(a=of(service()), b=of(service("svc2", "172.30.0.42"), "10.180.0.2"))
    text = changes(before, after).text
    assert "svc2" not in text
    assert text.splitlines() == [
        "delete element ip kube-proxy service-ips { 172.30.0.41 . tcp . 80 }",
        "flush chain ip kube-proxy service-ULMVA6XW-ns1/svc1/tcp/p80",
        "flush chain ip kube-proxy endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80",
        "add element ip kube-proxy no-endpoint-services "
        '{ 172.30.0.41 . tcp . 80 comment "ns1/svc1:p80" : goto reject-chain }',
        "delete chain ip kube-proxy service-ULMVA6XW-ns1/svc1/tcp/p80",
        "delete chain ip kube-proxy endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80",
    ]
    assert not changes(after, after).text


def test_of_two_services_with_one_address_the_first_by_name_has_it() -> None:
    """And the other when that one goes: an element may exist only once."""
    one, two = of(service(), "10.180.0.1"), of(service("svc2"), "10.180.0.2")
    key = ("service-ips", "172.30.0.41 . tcp . 80")
    assert "svc1" in table(a=one, b=two).elements[key]
    alone = table(b=two)
    assert "svc2" in alone.elements[key]
    text = changes(table(a=one, b=two), alone).text
    assert text.index("delete element ip kube-proxy service-ips") < text.index("add element")


def test_another_affinity_timeout_makes_the_table_anew() -> None:
    """A set's timeout is for ever, and rules hold the set."""

    def sticky(seconds: int) -> Table:
        config = {"clientIP": {"timeoutSeconds": seconds}}
        one = service(sessionAffinity="ClientIP", sessionAffinityConfig=config)
        return table(a=of(one, "10.180.0.1"))

    assert changes(sticky(10), sticky(20)) == rebuilt(sticky(20))


@pytest.mark.parametrize(
    ("ranges", "rule"),
    [
        ([" 203.0.113.0/25"], ("ip saddr != 203.0.113.0/25 drop",)),
        (
            ["203.0.113.0/25", "192.0.2.7/32", "203.0.113.0/28"],
            ("ip saddr != { 192.0.2.7, 203.0.113.0/25 } drop",),
        ),
        (["0.0.0.0/0", "192.0.2.0/24"], ()),
    ],
)
def test_source_ranges_are_merged(ranges: list[str], rule: tuple[str, ...]) -> None:
    one = service(type="LoadBalancer", loadBalancerSourceRanges=ranges)
    balanced = msgspec.convert({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}]}}, type(one.status))
    fragment = of(msgspec.structs.replace(one, status=balanced), "10.180.0.1").fragments[0]
    assert [r for name, r in fragment.chains.items() if name.startswith("firewall-")] == [rule]


def listing(hook_priority: str = "-100") -> str:
    lines = ["table ip kube-proxy {", '\tcomment "rules for kube-proxy"']
    for name, collection in COLLECTIONS.items():
        lines += [f"\t{collection.kind} {name} {{", f"\t\t{collection.type}"]
        if name == "no-endpoint-services":
            lines.append('\t\telements = { 1.2.3.4 . tcp . 80 comment "n/s:p" : drop,')
            lines.append('\t\t\t     1.2.3.4 . tcp . 81 comment "n/s:q" : goto reject-chain }')
        lines += ["\t}", ""]
    lines += ["\tset affinity-X {", "\t\ttype ipv4_addr", "\t\ttimeout 1d2h3m4s", "\t}", ""]
    for name, hook in HOOKS.items():
        lines += [f"\tchain {name} {{", f"\t\t{hook.replace('-100', hook_priority)}", "\t}", ""]
    lines += ["\tchain reject-chain {", '\t\tcomment "helper"', "\t\treject", "\t}", "}"]
    return "\n".join(lines)


def test_a_listing_is_read_back() -> None:
    found = parse(listing())
    assert found is not None
    assert found.chains["reject-chain"] == ("reject",)
    assert found.affinities == {"affinity-X": 86400 + 2 * 3600 + 3 * 60 + 4}
    assert found.elements == {
        ("no-endpoint-services", "1.2.3.4 . tcp . 80"): 'comment "n/s:p" : drop',
        ("no-endpoint-services", "1.2.3.4 . tcp . 81"): 'comment "n/s:q" : goto reject-chain',
    }


@pytest.mark.parametrize("text", ["", "table ip kube-proxy {\n}\n", listing("-99")])
def test_a_table_of_another_shape_is_made_anew(text: str) -> None:
    assert parse(text) is None
