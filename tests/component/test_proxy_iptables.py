"""Every kind of rule through the real tools: accepted, printed as written, removed again."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from tests.component.proxy_harness import REPO, Netns
from worker.proxy.commands import RulesError, execute
from worker.proxy.endpoints import OwnNode
from worker.proxy.generation import generation
from worker.proxy.restore import changes, cleanup, full, parse_save
from worker.proxy.ruleset import JUMPS, Options, Tables, assemble, render_service

BACKENDS = [name for name in ("nft", "legacy") if shutil.which(f"iptables-{name}-restore")]
pytestmark = pytest.mark.root
OPTIONS = [
    Options(cluster_cidr="10.244.0.0/16"),
    Options(masquerade_bit=31, random_fully=False, localhost_node_ports=False),
    Options(cluster_cidr="10.0.0.0/8", masquerade_bit=0),
]


@pytest.fixture
def netns() -> Iterator[Netns]:
    made = Netns(f"mup-{secrets.token_hex(3)}-rules")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", made.name], check=True)


def objects() -> Iterator[tuple[str, Service, list[EndpointSlice]]]:
    """Services with each feature and each protocol, with 0, 1 and 7 endpoints."""
    for i, protocol in enumerate(("TCP", "UDP", "SCTP")):
        for count in (0, 1, 7):
            for policy in ("Cluster", "Local"):
                name = f"s-{protocol.lower()}-{count}-{policy.lower()}"
                service = _service(name, protocol, policy, 10 * i + count)
                yield name, service, [_slice(name, protocol, count)]


def everything(options: Options) -> Tables:
    rendered = {
        name: render_service(service, slices, OwnNode("w1"), options)
        for name, service, slices in objects()
    }
    return assemble(rendered, options)


def _service(name: str, protocol: str, policy: str, number: int) -> Service:
    number += 100 * (policy == "Local")
    document = {
        "metadata": {"namespace": "n" * 63, "name": name},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": f"10.96.1.{number}",
            "externalIPs": [f"198.51.100.{number}"],
            "loadBalancerSourceRanges": ["192.0.2.0/24", "0.0.0.0/0"],
            "internalTrafficPolicy": policy,
            "externalTrafficPolicy": policy,
            "healthCheckNodePort": 32000 + number,
            "sessionAffinity": "ClientIP" if policy == "Local" else "None",
            "ports": [
                {"name": "p" * 63, "port": 80, "protocol": protocol, "nodePort": 30000 + number}
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": f"203.0.113.{number}"}]}},
    }
    return msgspec.convert(document, Service)


def _slice(name: str, protocol: str, count: int) -> EndpointSlice:
    endpoints = [
        {"addresses": [f"10.244.1.{i + 1}"], "nodeName": "w1" if i % 2 else "w2"}
        for i in range(count)
    ]
    document = {
        "addressType": "IPv4",
        "metadata": {"namespace": "n" * 63, "name": name},
        "ports": [{"name": "p" * 63, "port": 8080, "protocol": protocol}],
        "endpoints": endpoints,
    }
    return msgspec.convert(document, EndpointSlice)


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "other", "bit-0"])
@pytest.mark.parametrize("most", [0, 20], ids=["at-once", "in-sections"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_are_accepted_printed_as_written_and_removed(
    netns: Netns, backend: str, most: int, options: Options
) -> None:
    """The last step of each: nothing left to do, which is what a resync relies on."""

    def saved() -> Tables:
        return parse_save(netns.run(f"iptables-{backend}-save"))

    tool, desired = f"iptables-{backend}-restore", everything(options)
    first = full(saved(), desired, JUMPS, most)
    assert (first.transactions > 3) is bool(most)
    if not most:  # a test applies no section, so a later one misses what an earlier one made
        netns.run(tool, "--test", "--noflush", text=first.text)
    netns.run(tool, "--noflush", text=first.text)
    assert full(saved(), desired, JUMPS).text == ""
    # To the bare rules in one step, as when all services go.
    bare = assemble({}, options)
    netns.run(tool, "--noflush", text=changes(desired, bare, most).text)
    assert full(saved(), bare, JUMPS).text == ""
    netns.run(tool, "--noflush", text=cleanup(saved(), most).text)
    assert "KUBE-" not in netns.run(f"iptables-{backend}-save")


async def test_a_tool_that_does_not_start_or_end_is_a_clear_error(tmp_path: Path) -> None:
    """Both are failures to try again, not the end of the proxy; no process is left behind."""
    with pytest.raises(RulesError, match="nowhere did not start"):
        await execute([str(tmp_path / "nowhere")])
    with pytest.raises(RulesError, match=r"sh did not end within 0\.2 s"):
        await execute(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], timeout=0.2)
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists()


def test_the_generation_counts_transactions_and_nothing_else(netns: Netns) -> None:
    """So an unchanged one means that nobody touched a rule."""

    def now() -> int | None:
        return netns.call(generation)

    first = now()
    assert first is not None
    netns.run("iptables-nft-save")
    assert now() == first
    text = full({}, everything(OPTIONS[0]), JUMPS, 20)
    netns.run("iptables-nft-restore", "--noflush", text=text.text)
    assert now() == first + text.transactions
    netns.run("iptables-nft", "-t", "nat", "-F", "KUBE-SERVICES")
    assert now() == first + text.transactions + 1


OPEN_AUTO = """
import asyncio
from worker.proxy.generation import generation
from worker.proxy.iptables import Iptables
print(asyncio.run(Iptables.open("auto")))
"""


@pytest.mark.skipif(len(BACKENDS) < 2, reason="needs both iptables back ends")
def test_auto_stays_with_the_back_end_that_holds_our_rules(netns: Netns) -> None:
    """Otherwise nft. Two back ends with rules at once would both act on packets."""

    def chosen() -> str:
        return netns.run("env", "-C", str(REPO), sys.executable, "-c", OPEN_AUTO).strip()

    assert chosen() == "Iptables(backend='nft', random_fully=True)"
    netns.run("iptables-legacy-restore", text="*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n")
    assert chosen() == "Iptables(backend='legacy', random_fully=True)"
