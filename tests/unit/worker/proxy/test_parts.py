"""The proxy's pure parts: names, flows to forget, what is pending, health, flags, errors."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from kube.api.core import Node, Service
from kube.api.discovery import EndpointConditions, EndpointHints, EndpointSlice, ForNode, ForZone
from worker.proxy import names
from worker.proxy.endpoints import OwnNode
from worker.proxy.flows import Flows, has_udp, parse, stale
from worker.proxy.health import Check, Health, answer, checks_of, eligible
from worker.proxy.main import Config
from worker.proxy.pending import Pending
from worker.proxy.rendered import RenderedService
from worker.proxy.restore import Restore, changes, dialect, explain, full, translated
from worker.proxy.ruleset import JUMPS, Options, render_service
from worker.proxy.text import one_in

NODE = OwnNode("w1")


def service(protocol: str = "TCP", **spec: Any) -> Service:
    port = {"name": "p80", "port": 80, "protocol": protocol, "nodePort": spec.pop("node_port", 0)}
    return msgspec.convert(
        {
            "metadata": {"namespace": "ns1", "name": "svc1"},
            "spec": {"clusterIP": "172.30.0.41", "ports": [port], **spec},
        },
        Service,
    )


def slice_of(*ips: str, protocol: str = "TCP", trigger: str = "") -> EndpointSlice:
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": trigger} if trigger else {}
    return msgspec.convert(
        {
            "addressType": "IPv4",
            "metadata": {
                "namespace": "ns1",
                "name": "x",
                "labels": {"kubernetes.io/service-name": "svc1"},
                "annotations": annotations,
            },
            "ports": [{"name": "p80", "port": 80, "protocol": protocol}],
            "endpoints": [{"addresses": [ip], "nodeName": "w1"} for ip in ips],
        },
        EndpointSlice,
    )


def rendered(one: Service | None, *slices: EndpointSlice) -> RenderedService[Any]:
    return render_service(one, slices, NODE, Options())


# Pairs that kube-proxy's published rule dumps show.
@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (names.cluster_chain("ns1/svc1:p80", "TCP"), "KUBE-SVC-XPGD46QRK7WJZT7O"),
        (names.external_chain("ns2/svc2:p80", "TCP"), "KUBE-EXT-GNZBNJ2PO5MGZ6GT"),
        (names.local_chain("ns2/svc2:p80", "TCP"), "KUBE-SVL-GNZBNJ2PO5MGZ6GT"),
        (names.firewall_chain("ns5/svc5:p80", "TCP"), "KUBE-FW-NUKIZ6OKUXPJNT4C"),
        (
            names.endpoint_chain("ns1/svc1:p80", "TCP", "10.180.0.1:80"),
            "KUBE-SEP-SXIVWICOYRO3J4NJ",
        ),
    ],
)
def test_chain_names_are_upstreams(chain: str, expected: str) -> None:
    assert chain == expected
    assert names.is_ours(chain)
    assert not names.is_ours("KUBE-IPTABLES-HINT")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000])
def test_probabilities_survive_the_kernels_rounding(count: int) -> None:
    """Reading back what the kernel keeps of the printed digits gives the same digits."""
    printed = one_in(count).split()[-1]
    kept = round(float(printed) * 2**31)
    assert f"{kept / 2**31:.11f}" == printed
    assert math.isclose(float(printed), 1 / count, abs_tol=1e-9)


# -- conntrack


LISTING = """\
udp      17 29 src=10.0.0.9 dst=172.30.0.41 sport=40007 dport=80 src=10.0.0.1 dst=10.0.0.9 \
sport=8080 dport=40007 mark=0 use=1
udp      17 29 src=10.0.0.9 dst=172.30.0.41 sport=40008 dport=80 [UNREPLIED] src=10.0.0.2 \
dst=10.0.0.9 sport=8080 dport=40008 mark=0 use=1
udp      17 29 src=10.0.0.9 dst=172.30.0.41 sport=40009 dport=80 [UNREPLIED] src=172.30.0.41 \
dst=10.0.0.9 sport=80 dport=40009 mark=0 use=1
udp      17 29 src=10.0.0.9 dst=192.168.0.2 sport=40007 dport=30080 src=10.0.0.1 \
dst=192.168.0.2 sport=8080 dport=40007 [ASSURED] mark=0 use=1
udp      17 29 src=10.0.0.9 dst=198.51.100.1 sport=40007 dport=80 src=10.0.0.1 dst=10.0.0.9 \
sport=8080 dport=40007 mark=0 use=1
udp      17 29 src=10.0.0.9 dst=8.8.8.8 sport=40007 dport=53 src=8.8.8.8 dst=10.0.0.9 \
sport=53 dport=40007 mark=0 use=1
"""


def test_udp_flows_to_a_removed_endpoint_are_forgotten_on_every_way_in() -> None:
    """So are those from the time without endpoints, which nobody answers; no others."""
    one = service("UDP", node_port=30080, externalIPs=["198.51.100.1"])
    new = rendered(one, slice_of("10.0.0.2", protocol="UDP"))
    assert stale(parse(LISTING), [new]) == {
        Flows("172.30.0.41", 80, "10.0.0.1"),
        Flows("172.30.0.41", 80, "172.30.0.41"),
        Flows("192.168.0.2", 30080, "10.0.0.1"),
        Flows("198.51.100.1", 80, "10.0.0.1"),
    }


@pytest.mark.parametrize(
    "conditions",
    [{"ready": False, "serving": True, "terminating": True}, {"ready": True}],
)
def test_flows_to_an_endpoint_that_still_serves_go_on(conditions: dict[str, bool]) -> None:
    """Also if new flows would go elsewhere: to a ready one, to the own zone or node."""
    slice_ = slice_of("10.0.0.1", "10.0.0.2", "172.30.0.41", protocol="UDP")
    first, *others = slice_.endpoints
    first = msgspec.structs.replace(
        first, conditions=msgspec.convert(conditions, EndpointConditions), node_name="w2"
    )
    slice_ = msgspec.structs.replace(slice_, endpoints=(first, *others))
    one = service("UDP", internalTrafficPolicy="Local")
    assert not stale(parse(LISTING), [rendered(one, slice_)])


def test_a_udp_service_without_endpoints_keeps_its_flows() -> None:
    assert not stale(parse(LISTING), [rendered(service("UDP"))])


def test_tcp_flows_are_left_alone() -> None:
    assert not has_udp([rendered(service(), slice_of("10.0.0.1"))])
    assert not stale(parse(LISTING), [rendered(service(), slice_of("10.0.0.2"))])


def test_the_conntrack_command_names_address_port_and_endpoint() -> None:
    command = " ".join(Flows("10.96.0.5", 53, "10.244.0.7").command())
    assert command == (
        "conntrack -D -f ipv4 -p udp --orig-dst 10.96.0.5 --orig-port-dst 53 --reply-src 10.244.0.7"
    )


# -- hints

HINTED = [("10.0.0.1", "a", "w1"), ("10.0.0.2", "a", "w2"), ("10.0.0.3", "b", "w3")]


def hinted(kind: str, *, but: str = "", ready: bool = True) -> EndpointSlice:
    """Endpoints with hints of a kind (`zones`, `nodes` or `both`); `but` has none."""
    slice_ = slice_of(*(ip for ip, _, _ in HINTED))
    endpoints = []
    for endpoint, (ip, zone, node) in zip(slice_.endpoints, HINTED, strict=True):
        hints = EndpointHints(
            for_zones=(ForZone(name=zone),) if kind in ("zones", "both") and ip != but else (),
            for_nodes=(ForNode(name=node),) if kind in ("nodes", "both") and ip != but else (),
        )
        conditions = EndpointConditions(ready=ready, serving=True, terminating=not ready)
        endpoints.append(
            msgspec.structs.replace(endpoint, hints=hints, conditions=conditions, node_name=node)
        )
    return msgspec.structs.replace(slice_, endpoints=tuple(endpoints))


@pytest.mark.parametrize(
    ("node", "slice_", "chosen"),
    [
        (OwnNode("w1", "a"), hinted("zones"), "12"),
        (OwnNode("w3", "b"), hinted("zones"), "3"),
        (OwnNode("w1", "c"), hinted("zones"), "123"),  # a zone without endpoints
        (OwnNode("w1"), hinted("zones"), "123"),  # a node without a zone
        (OwnNode("w1", "a"), hinted("zones", but="10.0.0.3"), "123"),  # one without a hint
        (OwnNode("w1", "a"), hinted("both"), "1"),  # the node before the zone
        (OwnNode("w9", "a"), hinted("both"), "12"),  # no endpoint for this node
        (OwnNode("w9", "c"), hinted("both"), "123"),
        (OwnNode("w1", "a"), hinted("nodes"), "1"),
        (OwnNode("w1", "a"), hinted("zones", ready=False), "123"),  # terminating ones: no hints
    ],
)
def test_hints_choose_by_node_and_zone_or_not_at_all(
    node: OwnNode, slice_: EndpointSlice, chosen: str
) -> None:
    (target,) = render_service(service(), [slice_], node, Options()).targets
    assert "".join(e.ip[-1] for e in target.cluster) == chosen


def test_a_node_within_the_source_ranges_reaches_its_own_load_balancer() -> None:
    """Some balancers make their address one of the node's own: it is then the sender."""
    one = service(type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"])
    status = msgspec.convert({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}]}}, type(one.status))
    one = msgspec.structs.replace(one, status=status)
    for node_ip, sources in (
        ("192.0.2.7", ("192.0.2.0/24", "5.6.7.8/32")),
        ("198.51.100.7", ("192.0.2.0/24",)),
    ):
        node = OwnNode("w1", addresses=(node_ip,))
        (port,) = render_service(one, [slice_of("10.0.0.1")], node, Options()).ports
        assert port.source_ranges == sources


@pytest.mark.parametrize(("mode", "taken"), [("VIP", True), ("Proxy", False), (None, True)])
def test_a_balancer_that_proxies_keeps_its_address(mode: str | None, taken: bool) -> None:
    one = service(type="LoadBalancer")
    ingress = {"ip": "5.6.7.8"} | ({"ipMode": mode} if mode else {})
    status = msgspec.convert({"loadBalancer": {"ingress": [ingress]}}, type(one.status))
    (port,) = rendered(msgspec.structs.replace(one, status=status)).ports
    assert port.load_balancer_ips == (("5.6.7.8",) if taken else ())


# -- pending changes


def test_changes_wait_under_the_services_key_and_come_back_after_a_failure() -> None:
    pending = Pending()
    assert pending.service(None, service())
    assert pending.slice_(None, slice_of("10.0.0.1", trigger="2026-01-02T03:04:05Z"))
    taken = pending.take()
    assert (taken.keys, taken.services, taken.slices) == ({"ns1/svc1"}, 1, 1)
    assert taken.triggers == [1767323045.0]
    assert pending == Pending()
    pending.put_back(taken)
    assert pending == taken


def test_a_change_of_a_services_annotations_alone_is_no_change() -> None:
    one = service()
    meta = msgspec.structs.replace(one.metadata, annotations={"a": "b"}, resource_version="2")
    assert not Pending().service(one, msgspec.structs.replace(one, metadata=meta))


def test_triggers_from_before_the_start_are_not_measured() -> None:
    pending = Pending()
    pending.slice_(None, slice_of("10.0.0.1", trigger="2026-01-02T03:04:05Z"), since=1767323046)
    assert pending.keys
    assert not pending.triggers


def test_a_slice_of_no_service_is_ignored() -> None:
    assert not Pending().slice_(None, EndpointSlice())


# -- restore


def test_only_missing_jumps_are_added_however_the_present_ones_are_printed() -> None:
    saved = {"nat": {"OUTPUT": ("-A OUTPUT -m comment --comment x -j KUBE-SERVICES",)}}
    restore = full(saved, {"nat": {}}, [jump for jump in JUMPS if jump.table == "nat"])
    inserted = [line for line in restore.text.splitlines() if line.startswith("-I")]
    assert [line.split()[1] for line in inserted] == ["PREROUTING", "POSTROUTING"]


def test_foreign_chains_are_not_touched() -> None:
    saved = {"nat": {"DOCKER": ("-A DOCKER -j RETURN",), "KUBE-SVC-OLD": ()}}
    assert (
        changes(saved, {"nat": {}}).text == "*nat\n:KUBE-SVC-OLD - [0:0]\n-X KUBE-SVC-OLD\nCOMMIT\n"
    )


def test_a_chain_that_prints_otherwise_is_written_once_and_then_known() -> None:
    desired = {"nat": {"KUBE-SERVICES": ("-A KUBE-SERVICES -j RETURN",)}}
    printed = {"nat": {"KUBE-SERVICES": ("-A KUBE-SERVICES  -j RETURN",)}}
    assert changes(printed, desired).text
    spoken = dialect(printed, desired)
    assert not changes(translated(printed, spoken, desired), desired).text
    # Somebody else's rule in it is still noticed.
    flushed = {"nat": {"KUBE-SERVICES": ()}}
    assert changes(translated(flushed, spoken, desired), desired).text


@pytest.mark.parametrize(
    "stderr",
    [
        "iptables-restore: line 3 failed",
        "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Invalid argument)",
        "iptables-restore v1.8.9: unknown option\nError occurred at line: 3\n",
    ],
)
def test_a_failure_names_the_rule(stderr: str) -> None:
    restore = Restore("*nat\n:KUBE-X - [0:0]\n-A KUBE-X -j NONSENSE\nCOMMIT\n")
    assert "rule: -A KUBE-X -j NONSENSE" in explain(restore, stderr)


# -- health


def test_health_turns_bad_when_a_change_waits_too_long_and_good_after_the_sync() -> None:
    health = Health(patience=60)
    assert not health.healthy(100)  # nothing synced yet
    health.updated(100)
    health.queued(110)
    health.queued(150)  # the oldest one counts
    assert health.healthy(169.9)
    assert not health.healthy(170)
    health.updated(171)
    assert health.healthy(1e6)


@pytest.mark.parametrize(
    ("document", "takes_traffic"),
    [
        ({}, True),
        ({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}, False),
        ({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}}, False),
    ],
)
def test_a_node_that_goes_away_is_not_eligible(document: Any, takes_traffic: bool) -> None:
    assert eligible(msgspec.convert(document, Node)) is takes_traffic
    assert eligible(None)


def test_the_health_check_port_counts_local_endpoints_of_local_services() -> None:
    balanced = {"type": "LoadBalancer", "healthCheckNodePort": 32000, "node_port": 30080}
    one = service(externalTrafficPolicy="Local", **balanced)
    check = Check(32000, "ns1", "svc1")
    assert checks_of({"": rendered(one, slice_of("10.0.0.1", "10.0.0.2"))}) == {check: 2}
    assert not checks_of({"": rendered(service(**balanced))})
    assert [answer(check, *case)[0] for case in ((2, True), (0, True), (2, False))] == [
        200, 503, 503,
    ]  # fmt: skip


# -- flags

TLS = ["--tls-cert-file", "c", "--tls-private-key-file", "k", "--client-ca-file", "a"]


def test_flags_become_a_config() -> None:
    config = Config.from_argv(
        ["--api-servers", "a:6444,b:6444", "--hostname-override", "w1", "--cluster-cidr",
         "10.244.0.0/16", "--iptables-sync-period", "7.5", *TLS]
    )  # fmt: skip
    assert config.api_servers == ("a:6444", "b:6444")
    assert (config.hostname, config.sync_period, config.healthz_port) == ("w1", 7.5, 10256)
    assert config.tls is not None


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (TLS, "--api-servers is required"),
        (["--api-servers", "a:1"], "--client-ca-file are required"),
        (["--api-servers", "a:1", *TLS, "--cluster-cidr", "10.0.0.1/8"], "host bits set"),
        (["--api-servers", "a:1", *TLS, "--iptables-sync-period", "0"], "more than 0"),
        (["--api-servers", "a:1", *TLS, "--masquerade-bit", "32"], "invalid choice"),
    ],
)
def test_bad_flags_are_refused_with_the_reason(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        Config.from_argv(argv)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
