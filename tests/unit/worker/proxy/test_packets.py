"""A packet's walk through the rendered rules of both modes, against what the Service says should
happen.

The walkers read the rule text as the kernel would: they know iptables and nftables, not Services.
The oracle knows Services, not rules.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from tests.unit.worker.proxy.proxy_walkers import (
    NODE_IP,
    IptablesWalker,
    NftablesWalker,
    Outcomes,
    Packet,
)
from worker.proxy.endpoints import OwnNode
from worker.proxy.nft import rules as nft_rules
from worker.proxy.nft import table as nft_table
from worker.proxy.rendered import rendered
from worker.proxy.ruleset import Options, assemble, render_service

POD_NET = "10.244.0.0/16"
NODE = OwnNode("w1")
OPTIONS = Options(cluster_cidr=POD_NET)
MODES = ["iptables", "nftables"]


def walker_of(mode: str, specs: list[dict[str, Any]]) -> IptablesWalker | NftablesWalker:
    made = {f"ns/svc{i}": objects(i, spec) for i, spec in enumerate(specs)}
    if mode == "iptables":
        services = {key: render_service(*of, NODE, OPTIONS) for key, of in made.items()}
        return IptablesWalker(assemble(services, OPTIONS))
    parts = {
        key: rendered(*of, NODE, lambda port, to: nft_rules.render(port, to, POD_NET))
        for key, of in made.items()
    }
    return NftablesWalker(nft_table.assemble(parts, "0x00004000", (NODE_IP,)))


# -- what is generated

condition = st.fixed_dictionaries(
    {}, optional={name: st.booleans() for name in ("ready", "serving", "terminating")}
)
endpoint = st.fixed_dictionaries(
    {
        "addresses": st.integers(1, 9).map(lambda n: [f"10.244.{n % 3}.{n}"]),
        "nodeName": st.sampled_from(["w1", "w2"]),
        "conditions": condition,
    }
)
policy = st.sampled_from(["Cluster", "Local"])
service = st.fixed_dictionaries(
    {
        "endpoints": st.lists(endpoint, max_size=6, unique_by=lambda e: e["addresses"][0]),
        "internal": policy,
        "external": policy,
        "cut": st.integers(0, 6),
    }
)
SOURCES = {
    "pod": "10.244.0.77", "node": NODE_IP, "outside": "192.0.2.9", "localhost": "127.0.0.1",
    "backend": "10.244.1.1",
}  # fmt: skip


def objects(index: int, spec: dict[str, Any]) -> tuple[Service, list[EndpointSlice]]:
    meta = {"namespace": "ns", "name": f"svc{index}"}
    document = {
        "metadata": meta,
        "spec": {
            "clusterIP": f"10.96.0.{index + 1}",
            "externalIPs": [f"198.51.100.{index + 1}"],
            "internalTrafficPolicy": spec["internal"],
            "externalTrafficPolicy": spec["external"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30000 + index}],
        },
    }
    labels = {"kubernetes.io/service-name": meta["name"]}
    parts = (spec["endpoints"][: spec["cut"]], spec["endpoints"][spec["cut"] :])
    slices = [
        {
            "addressType": "IPv4",
            "metadata": {"namespace": "ns", "name": f"{meta['name']}-{n}", "labels": labels},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": part,
        }
        for n, part in enumerate(parts)
    ]
    return msgspec.convert(document, Service), [msgspec.convert(s, EndpointSlice) for s in slices]


# -- what should happen


def usable(endpoints: list[dict[str, Any]]) -> set[str]:
    def is_ready(e: dict[str, Any]) -> bool:
        return e["conditions"].get("ready", True)

    ready = {e["addresses"][0] for e in endpoints if is_ready(e)}
    leaving = {
        e["addresses"][0]
        for e in endpoints
        if e["conditions"].get("serving", is_ready(e)) and e["conditions"].get("terminating")
    }
    return ready or leaving


def expected(spec: dict[str, Any], source: str, how: str) -> Outcomes:
    address = SOURCES[source]
    everywhere = usable(spec["endpoints"])
    here = usable([e for e in spec["endpoints"] if e["nodeName"] == "w1"])
    from_pod, from_node = source in ("pod", "backend"), source in ("node", "localhost")
    internal = how == "cluster"
    outsider = not (from_pod or from_node)
    local = spec["internal"] == "Local" if internal else spec["external"] == "Local" and outsider
    if not everywhere:
        return {("REJECT", False): Fraction(1)}
    targets = here if local else everywhere
    if not targets:
        return {("DROP", False): Fraction(1)}
    masquerade = not from_pod if internal else spec["external"] == "Cluster" or from_node
    return {
        (f"{ip}:8080", masquerade or ip == address): Fraction(1, len(targets)) for ip in targets
    }


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=75)
@given(st.lists(service, min_size=1, max_size=3))
def test_each_packet_reaches_one_usable_endpoint_evenly_or_is_refused(
    mode: str, specs: list[dict[str, Any]]
) -> None:
    """Whatever the policies and conditions: even chances, right masquerading, no fall-through."""
    walker = walker_of(mode, specs)
    for i, spec in enumerate(specs):
        for source, address in SOURCES.items():
            ways = {
                "cluster": Packet(address, f"10.96.0.{i + 1}", 80),
                "external": Packet(address, f"198.51.100.{i + 1}", 80),
                "node": Packet(address, NODE_IP, 30000 + i),
            }
            for how, packet in ways.items():
                assert walker.outcomes(packet) == expected(spec, source, how), (source, how)


@pytest.mark.parametrize("mode", MODES)
@given(st.lists(service, max_size=2))
@settings(max_examples=25)
def test_other_packets_are_left_alone(mode: str, specs: list[dict[str, Any]]) -> None:
    """But for other ports of a ClusterIP, which nobody else can answer: nftables refuses them."""
    walker = walker_of(mode, specs)
    for packet in (
        Packet("10.244.0.77", "10.96.0.1", 81),
        Packet("10.244.0.77", "10.96.0.1", 80, protocol="udp"),
        Packet("10.244.0.77", "192.0.2.1", 30000),
        Packet("192.0.2.9", NODE_IP, 22),
    ):
        known = specs and mode == "nftables" and packet.destination == "10.96.0.1"
        verdict = "REJECT" if known else "untouched"
        assert walker.outcomes(packet) == {(verdict, False): Fraction(1)}
