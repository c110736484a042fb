"""Packets, and how iptables and nftables would lead them through rule text.

The walkers know the tools' languages, not Services.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from worker.proxy.nft.table import Table
from worker.proxy.ruleset import Tables

NODE_IP = "10.200.0.21"


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


class IptablesWalker:
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


# -- nftables

Path = tuple[Packet, Fraction, str]  # the packet, its chance, the verdict ("" = fell out)


class NftablesWalker:
    """Every path of a packet through the hooks that it meets, in the order of their priority."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def outcomes(self, packet: Packet) -> Outcomes:
        found: Outcomes = {}
        for after, chance, verdict in self.through(self.hooks(packet), packet):
            key = (verdict.upper() or after.translated or "untouched", after.marked)
            found[key] = found.get(key, Fraction(0)) + chance
        assert sum(found.values()) == 1
        return found

    @staticmethod
    def hooks(packet: Packet) -> tuple[str, ...]:
        if packet.local(packet.source):
            # By the loopback, what is for the node itself comes in again.
            return "filter-output-pre-dnat", "nat-output", "filter-output", "filter-input or none"
        return "filter-prerouting-pre-dnat", "nat-prerouting", "filter-input or forward"

    def through(self, hooks: tuple[str, ...], packet: Packet) -> Iterator[Path]:
        if not hooks:
            yield packet, Fraction(1), ""
            return
        first, rest = hooks[0], hooks[1:]
        if first == "filter-input or forward":
            first = "filter-input" if packet.local(packet.destination) else "filter-forward"
        elif first == "filter-input or none":
            if not packet.local(packet.destination):
                yield packet, Fraction(1), ""
                return
            first = "filter-input"
        for after, chance, verdict in self.chain(first, packet):
            if verdict in ("drop", "reject"):
                yield after, chance, verdict
                continue
            if after.translated:
                host, port = after.translated.split(":")
                after = replace(after, destination=host, port=int(port))
            for last, part, end in self.through(rest, after):
                yield last, chance * part, end

    def chain(self, name: str, packet: Packet) -> Iterator[Path]:
        yield from self.rules(self.table.chains[name], packet)

    def rules(self, rules: tuple[str, ...], packet: Packet) -> Iterator[Path]:
        if not rules:
            yield packet, Fraction(1), ""
            return
        for after, chance, verdict in self.rule(re.sub(r' comment "[^"]*"$', "", rules[0]), packet):
            if verdict:
                yield after, chance, "" if verdict == "return" else verdict
            else:
                for last, part, end in self.rules(rules[1:], after):
                    yield last, chance * part, end

    def rule(self, text: str, packet: Packet) -> Iterator[Path]:
        """`return`: leave the chain; an empty verdict: go on with the next rule."""
        unmoved = (packet, Fraction(1), "")
        if found := re.match(r"ip ([sd])addr (!= )?(?!\. )(\{.*?\}|\S+) ", text):
            address = packet.source if found[1] == "s" else packet.destination
            if self.within(address, found[3]) == bool(found[2]):
                yield unmoved
            else:
                yield from self.rule(text[found.end() :], packet)
        elif found := re.match(r"fib saddr type local ", text):
            if packet.local(packet.source):
                yield from self.rule(text[found.end() :], packet)
            else:
                yield unmoved
        elif text.startswith("ct state new "):
            yield from self.rule(text.removeprefix("ct state new "), packet)
        elif found := re.fullmatch(r"numgen random mod (\d+) vmap \{ (.*) \}", text):
            ways = dict(way.split(" : ") for way in found[2].split(", "))
            assert list(ways) == [str(n) for n in range(int(found[1]))]
            for verdict in ways.values():
                for after, chance, end in self.verdict(verdict, packet):
                    yield after, chance / len(ways), end
        elif found := re.fullmatch(r"(ip daddr \. )?meta l4proto \. th dport vmap @(\S+)", text):
            key = f"{packet.protocol} . {packet.port}"
            key = f"{packet.destination} . {key}" if found[1] else key
            value = self.table.elements.get((found[2], key))
            yield from (
                [unmoved]
                if value is None
                else self.verdict(value.rpartition(" : ")[2] or value, packet)
            )
        elif found := re.fullmatch(r"meta l4proto (\S+) dnat to (\S+)", text):
            hit = found[1] == packet.protocol
            yield (replace(packet, translated=found[2]), Fraction(1), "accept") if hit else unmoved
        elif found := re.fullmatch(r"meta mark set meta mark \| \S+", text):
            yield replace(packet, marked=True), Fraction(1), ""
        else:
            yield from self.verdict(text, packet)

    def verdict(self, text: str, packet: Packet) -> Iterator[Path]:
        kind, _, chain = text.partition(" ")
        if kind in ("drop", "reject"):
            yield packet, Fraction(1), kind
            return
        assert kind in ("jump", "goto"), text
        for after, chance, verdict in self.chain(chain, packet):
            yield after, chance, verdict or ("return" if kind == "goto" else "")

    def within(self, address: str, what: str) -> bool:
        if what.startswith("@"):
            return (what[1:], address) in self.table.elements
        networks = what.strip("{} ").split(", ")
        return any(
            ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in networks
        )
