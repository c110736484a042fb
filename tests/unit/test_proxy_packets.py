"""A packet's walk through the rendered rules, against what the Service says should happen.

The walker reads the rule text as the kernel would: it knows iptables, not Services. The
oracle knows Services, not rules.
"""

from __future__ import annotations

import ipaddress
import shlex
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.api.core import Service
from muster.api.discovery import EndpointSlice
from worker.proxy.endpoints import Node
from worker.proxy.ruleset import Options, Tables, assemble, render_service

POD_NET = "10.244.0.0/16"
NODE_IP = "10.200.0.21"
NODE = Node("w1")
OPTIONS = Options(cluster_cidr=POD_NET)


@dataclass(frozen=True)
class Packet:
    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    marked: bool = False
    translated: str = ""

    def local(self, address: str) -> bool:
        return address == NODE_IP or address.startswith("127.")


Outcomes = dict[tuple[str, bool], Fraction]  # (endpoint or verdict, masqueraded) -> chance


class Walker:
    """Every path of a packet through nat and then filter, with its probability."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def outcomes(self, packet: Packet) -> Outcomes:
        found: Outcomes = {}
        for after, chance in self.nat("KUBE-SERVICES", packet):
            key = (self.filtered(after), after.marked)
            found[key] = found.get(key, Fraction(0)) + chance
        assert sum(found.values()) == 1
        return found

    def filtered(self, packet: Packet) -> str:
        if packet.translated:
            host, port = packet.translated.split(":")
            packet = replace(packet, destination=host, port=int(port))
        for chain in ("KUBE-PROXY-FIREWALL", "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"):
            for words in map(shlex.split, self.tables["filter"][chain]):
                if chance_of(words, packet) == 1:
                    return target(words)
        return packet.translated or "untouched"

    def nat(self, chain: str, packet: Packet) -> list[tuple[Packet, Fraction]]:
        """(packet when it left the table or fell out of the chain, chance) of each path."""
        open_paths, ended = [(packet, Fraction(1))], []
        for words in map(shlex.split, self.tables["nat"][chain]):
            going_on = []
            for now, chance in open_paths:
                hit = chance_of(words, now)
                if hit < 1:
                    going_on.append((now, chance * (1 - hit)))
                if not hit:
                    continue
                for after, part in self.jump(words, now):
                    place = ended if after.translated else going_on
                    place.append((after, chance * hit * part))
            open_paths = going_on
        return ended + open_paths

    def jump(self, words: list[str], packet: Packet) -> list[tuple[Packet, Fraction]]:
        to = target(words)
        if to == "KUBE-MARK-MASQ":
            return [(replace(packet, marked=True), Fraction(1))]
        if to == "DNAT":
            where = words[words.index("--to-destination") + 1]
            return [(replace(packet, translated=where), Fraction(1))]
        assert to.startswith("KUBE-"), words
        return self.nat(to, packet)


def target(words: list[str]) -> str:
    return words[words.index("-j") + 1]


def chance_of(words: list[str], packet: Packet) -> Fraction:
    """The probability that a rule matches: 0, 1, or what `statistic` says."""
    chance, negated = Fraction(1), False
    rest = iter(words[2:])
    for word in rest:
        if word == "!":
            negated = True
            continue
        if word == "-j":
            return chance
        value = next(rest)
        if word == "--probability":
            chance = Fraction(value).limit_denominator(1000)
        elif word in ("-m", "--comment", "--mode"):
            pass
        elif matches(word, value, packet) == negated:
            return Fraction(0)
        negated = False
    return chance


def matches(option: str, value: str, packet: Packet) -> bool:
    def within(address: str) -> bool:
        return ipaddress.ip_address(address) in ipaddress.ip_network(value)

    return {
        "-s": lambda: within(packet.source),
        "-d": lambda: within(packet.destination),
        "-p": lambda: value == packet.protocol,
        "--dport": lambda: int(value) == packet.port,
        "--dst-type": lambda: packet.local(packet.destination),
        "--src-type": lambda: packet.local(packet.source),
    }[option]()


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


@settings(max_examples=150, deadline=None)
@given(st.lists(service, min_size=1, max_size=3))
def test_each_packet_reaches_one_usable_endpoint_evenly_or_is_refused(
    specs: list[dict[str, Any]],
) -> None:
    """Whatever the policies and conditions: even chances, right masquerading, no fall-through."""
    rendered = {
        f"ns/svc{i}": render_service(*objects(i, spec), NODE, OPTIONS)
        for i, spec in enumerate(specs)
    }
    walker = Walker(assemble(rendered, OPTIONS))
    for i, spec in enumerate(specs):
        for source, address in SOURCES.items():
            ways = {
                "cluster": Packet(address, f"10.96.0.{i + 1}", 80),
                "external": Packet(address, f"198.51.100.{i + 1}", 80),
                "node": Packet(address, NODE_IP, 30000 + i),
            }
            for how, packet in ways.items():
                assert walker.outcomes(packet) == expected(spec, source, how), (source, how)


@given(st.lists(service, max_size=2))
@settings(max_examples=25, deadline=None)
def test_other_packets_are_left_alone(specs: list[dict[str, Any]]) -> None:
    rendered = {
        f"ns/svc{i}": render_service(*objects(i, spec), NODE, OPTIONS)
        for i, spec in enumerate(specs)
    }
    walker = Walker(assemble(rendered, OPTIONS))
    for packet in (
        Packet("10.244.0.77", "10.96.0.1", 81),
        Packet("10.244.0.77", "10.96.0.1", 80, protocol="udp"),
        Packet("10.244.0.77", "192.0.2.1", 30000),
        Packet("192.0.2.9", NODE_IP, 22),
    ):
        assert walker.outcomes(packet) == {("untouched", False): Fraction(1)}
