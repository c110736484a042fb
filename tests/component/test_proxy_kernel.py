"""kube-proxy as a process, on real iptables (both back ends) and real nftables, with real
connections.

One lab per back end; every test uses a service of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.component.proxy_harness import (
    CLIENT_IP,
    NFTABLES,
    NODE_IP,
    PODS,
    Lab,
    Netns,
    ask,
    ask_udp,
    endpoint_slice,
    healthz,
    node,
    proxy_lab,
    service,
    until,
)
from worker.proxy.restore import Restore, explain

IPTABLES = [name for name in ("nft", "legacy") if shutil.which(f"iptables-{name}-restore")]
BACKENDS = [*IPTABLES, NFTABLES]
pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=BACKENDS)
async def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lab]:
    directory = tmp_path_factory.mktemp(request.param)
    async with proxy_lab(directory, request.param) as running:
        ready = "masquerading" if running.backend == NFTABLES else "KUBE-POSTROUTING"
        await until("first sync", lambda: ready in running.rules(), 60)
        yield running


async def test_a_cluster_ip_leads_to_all_pods_evenly(lab: Lab) -> None:
    """From a pod, the node and outside; only pods keep their own address."""
    await lab.publish(service("even", "10.96.0.1"), endpoint_slice("even", *PODS))
    sources = {
        "pod": (lab.world.pods["pod1"], {PODS["pod1"]}),
        "node": (lab.world.node, {NODE_IP}),
        "client": (lab.world.client, {NODE_IP}),
    }
    seen: Counter[str] = Counter()
    for name, (netns, expected) in sources.items():
        for _ in range(40):
            pod, peer = ask(netns, "10.96.0.1", 80)
            seen[pod] += 1
            # A pod that meets itself sees the node (hairpin).
            assert peer in (expected if (name, pod) != ("pod", "pod1") else {NODE_IP})
    assert set(seen) == set(PODS)
    assert min(seen.values()) > 15  # of 120, evenly 40: less is a chance of one in a million


async def test_a_pod_reaches_itself_through_its_service(lab: Lab) -> None:
    await lab.publish(service("mirror", "10.96.0.2"), endpoint_slice("mirror", "pod2"))
    assert ask(lab.world.pods["pod2"], "10.96.0.2", 80) == ("pod2", NODE_IP)


async def test_a_node_port_answers_everywhere(lab: Lab) -> None:
    """To a client, a pod, the node by its address and, in the mode iptables, by localhost."""
    await lab.publish(service("np", "10.96.0.3", nodePort=30003), endpoint_slice("np", "pod3"))
    assert ask(lab.world.client, NODE_IP, 30003) == ("pod3", NODE_IP)
    assert ask(lab.world.pods["pod1"], NODE_IP, 30003) == ("pod3", NODE_IP)
    assert ask(lab.world.node, NODE_IP, 30003)[0] == "pod3"
    if lab.backend == NFTABLES:
        with pytest.raises(ConnectionRefusedError):
            ask(lab.world.node, "127.0.0.1", 30003)
    else:
        assert ask(lab.world.node, "127.0.0.1", 30003)[0] == "pod3"


async def test_affinity_keeps_a_client_with_its_pod(lab: Lab) -> None:
    one = service("sticky", "10.96.0.4", sessionAffinity="ClientIP")
    await lab.publish(one, endpoint_slice("sticky", *PODS))
    for netns in (lab.world.pods["pod1"], lab.world.client):
        assert len({ask(netns, "10.96.0.4", 80)[0] for _ in range(12)}) == 1


async def test_without_endpoints_a_connection_is_refused_at_once(lab: Lab) -> None:
    one = service("nobody", "10.96.0.5", nodePort=30005, externalIPs=["198.51.100.5"])
    await lab.publish(one)
    for netns, host, port in (
        (lab.world.pods["pod1"], "10.96.0.5", 80),
        (lab.world.node, "10.96.0.5", 80),
        (lab.world.client, NODE_IP, 30005),
        (lab.world.client, "198.51.100.5", 80),
    ):
        with pytest.raises(ConnectionRefusedError):
            ask(netns, host, port)


async def test_a_removed_pod_gets_no_new_connection_and_keeps_the_old_ones(lab: Lab) -> None:
    await lab.publish(service("shrink", "10.96.0.6"), endpoint_slice("shrink", "pod1"))
    client = lab.world.pods["pod3"]
    old = client.call(lambda: socket.create_connection(("10.96.0.6", 80), timeout=30))
    with contextlib.closing(old), old.makefile() as lines:
        assert lines.readline().startswith("pod1")
        await lab.set_endpoints(endpoint_slice("shrink", "pod2"), pod1=False, pod2=True)
        assert {ask(client, "10.96.0.6", 80)[0] for _ in range(10)} == {"pod2"}
        old.sendall(b"still there?\n")
        assert lines.readline() == "pod1\n"


async def test_a_udp_flow_moves_on_when_its_pod_is_removed(lab: Lab) -> None:
    """The same source port: without conntrack's help it would stay with the old pod."""
    one = service("dns", "10.96.0.7", protocol="UDP", nodePort=30007)
    await lab.publish(one, endpoint_slice("dns", "pod1", protocol="UDP"))
    client = lab.world.pods["pod3"]
    assert ask_udp(client, "10.96.0.7", 80, source_port=40007) == "pod1"
    assert ask_udp(lab.world.client, NODE_IP, 30007, source_port=40007) == "pod1"
    await lab.set_endpoints(endpoint_slice("dns", "pod2", protocol="UDP"), pod1=False, pod2=True)
    # Flows are forgotten after the rules are written.
    for netns, host, port in ((client, "10.96.0.7", 80), (lab.world.client, NODE_IP, 30007)):
        await until(
            "moved on",
            lambda n=netns, h=host, p=port: _udp_pod(n, h, p) == "pod2",
        )


async def test_a_start_moves_stale_flows_and_no_others(lab: Lab) -> None:
    """What changed while none ran, nobody tells the next one: it looks at the flows."""
    for name, address in (("gap", "10.96.0.17"), ("well", "10.96.0.18")):
        one = service(name, address, protocol="UDP")
        await lab.publish(one, endpoint_slice(name, "pod1", protocol="UDP"))
    client = lab.world.pods["pod3"]
    assert ask_udp(client, "10.96.0.18", 80, source_port=40018) == "pod1"
    assert ask_udp(client, "10.96.0.17", 80, source_port=40007) == "pod1"
    assert lab.stop() == 0
    # Both run: only the proxy can know that the flow leads to the wrong one.
    await lab.api.put("endpointslices", endpoint_slice("gap", "pod2", protocol="UDP"))
    assert ask_udp(client, "10.96.0.17", 80, source_port=40007) == "pod1"
    lab.start()
    await until("moved on", lambda: _udp_pod(client, "10.96.0.17", 80) == "pod2")
    flows = lab.world.node.run("conntrack", "-L", "-p", "udp")
    assert re.search(rf"dst=10.96.0.18 sport=40018 dport=80 .*src={PODS['pod1']} ", flows)


def _udp_pod(netns: Netns, host: str, port: int) -> str:
    """ "" when the answer was lost: its flow may be forgotten while it is on its way."""
    try:
        return ask_udp(netns, host, port, source_port=40007, seconds=1.0)
    except TimeoutError:
        return ""


async def test_the_external_policy_local_keeps_the_clients_address(lab: Lab) -> None:
    one = service("keep", "10.96.0.8", nodePort=30008, externalTrafficPolicy="Local")
    await lab.publish(one, endpoint_slice("keep", "pod1"))
    assert ask(lab.world.client, NODE_IP, 30008) == ("pod1", CLIENT_IP)
    # Elsewhere only: outsiders are dropped, pods are led on.
    await lab.api.put("endpointslices", endpoint_slice("keep", "pod1", node="w2"))
    await until("drop", lambda: lab.refuses("keep"))
    with pytest.raises(TimeoutError):
        ask(lab.world.client, NODE_IP, 30008, seconds=0.5)
    assert ask(lab.world.pods["pod2"], NODE_IP, 30008)[0] == "pod1"


async def test_an_external_ip_leads_to_the_service(lab: Lab) -> None:
    one = service("ext", "10.96.0.9", externalIPs=["198.51.100.9"])
    await lab.publish(one, endpoint_slice("ext", "pod2"))
    assert ask(lab.world.client, "198.51.100.9", 80) == ("pod2", NODE_IP)


async def test_a_terminating_pod_serves_when_nobody_else_does(lab: Lab) -> None:
    slice_ = endpoint_slice("last", "pod2", ready=False, serving=True, terminating=True)
    await lab.publish(service("last", "10.96.0.10"), slice_)
    assert ask(lab.world.pods["pod1"], "10.96.0.10", 80)[0] == "pod2"


async def test_a_change_writes_the_chains_of_its_service_only(lab: Lab) -> None:
    await lab.publish(service("part", "10.96.0.11"), endpoint_slice("part", "pod1"))
    written = len(lab.restored)
    await lab.set_endpoints(endpoint_slice("part", "pod1", "pod2"), pod1=True, pod2=True)
    news = lab.restored[written:]
    if lab.backend == NFTABLES:
        chains = re.findall(r"^chain (\w+)-", news, re.MULTILINE)
        assert chains == ["service", "endpoint"]
    else:
        chains = re.findall(r"^:(\S+)", news, re.MULTILINE)
        assert [chain[:8] for chain in chains] == ["KUBE-SVC", "KUBE-SEP"]


async def test_the_time_from_an_event_to_its_rule_is_measured(lab: Lab) -> None:
    """Programming latency is measured from the trigger's time stamp."""
    await lab.publish(service("quick", "10.96.0.12"), endpoint_slice("quick", "pod1"))
    programming = "kubeproxy_network_programming_duration_seconds"
    before = await asyncio.to_thread(lab.metrics)
    await lab.set_endpoints(endpoint_slice("quick", "pod1", "pod2"), pod2=True)
    after = await until("measured", lambda: _grown(lab, f"{programming}_count", before))
    took = after[f"{programming}_sum"] - before[f"{programming}_sum"]
    assert 0 < took < 60  # from that time stamp on, and no other; some 0.03 s


def _grown(lab: Lab, name: str, before: dict[str, float]) -> dict[str, float] | None:
    now = lab.metrics()
    return now if now[name] > before[name] else None


LAST_SYNC = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
FULL_SYNCS = "kubeproxy_sync_full_proxy_rules_duration_seconds_count"


async def test_idle_full_syncs_write_nothing_and_move_the_time_stamp(lab: Lab) -> None:
    """What iptables-save prints is what we wrote, for every kind of rule there is."""
    began = time.time()
    before, written = (await asyncio.to_thread(lab.metrics)), lab.restored
    await until("two full syncs", lambda: lab.metrics()[FULL_SYNCS] >= before[FULL_SYNCS] + 2)
    assert lab.restored == written
    assert (await asyncio.to_thread(lab.metrics))[LAST_SYNC] > began


async def test_a_slice_event_that_changes_no_rule_moves_the_time_stamp(lab: Lab) -> None:
    await lab.publish(service("calm", "10.96.0.13"), endpoint_slice("calm", "pod1"))
    changes = "kubeproxy_sync_proxy_rules_endpoint_changes_total"
    before, written = (await asyncio.to_thread(lab.metrics)), lab.restored
    await lab.api.put("endpointslices", endpoint_slice("calm", "pod1"))
    after = await until("event", lambda: _grown(lab, changes, before))
    await until("sync", lambda: lab.metrics()[LAST_SYNC] > before[LAST_SYNC])
    assert after["kubeproxy_sync_proxy_rules_endpoint_changes_pending"] in (0, 1)
    assert lab.restored == written


async def test_flushed_rules_come_back(lab: Lab) -> None:
    await lab.publish(service("flush", "10.96.0.14"), endpoint_slice("flush", "pod1"))
    lab.flush()
    await until("repair", lambda: lab.serves("flush") and lab.jumps())
    assert ask(lab.world.pods["pod2"], "10.96.0.14", 80)[0] == "pod1"


async def test_a_failing_iptables_is_retried_and_health_tells(lab: Lab) -> None:
    assert healthz(lab)[0] == 200
    (lab.directory / "fail").touch()
    try:
        await lab.api.put("services", service("late", "10.96.0.15"))
        _, body = await until("bad health", lambda: _if_status(lab, 503))
        assert set(body) == {"lastUpdated", "currentTime", "nodeEligible"}
        failures = "kubeproxy_sync_proxy_rules_iptables_restore_failures_total"
        if lab.backend == NFTABLES:
            failures = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"
        await until("another try", lambda: lab.metrics()[failures] > 1)
    finally:
        (lab.directory / "fail").unlink()
    await until("good health", lambda: _if_status(lab, 200))
    assert lab.refuses("late")


def _if_status(lab: Lab, wanted: int) -> tuple[int, dict[str, object]] | None:
    answer = healthz(lab)
    return answer if answer[0] == wanted else None


async def test_a_node_that_is_deleted_takes_no_load_balancer_traffic(lab: Lab) -> None:
    await lab.api.put("nodes", node("w1", deletionTimestamp="2026-01-02T03:04:05Z"))
    await until("ineligible", lambda: _if_status(lab, 503))
    assert lab.get("/livez")[0] == 200
    await lab.api.put("nodes", node("w1"))
    await until("eligible", lambda: _if_status(lab, 200))


async def test_the_health_check_port_answers_for_its_service(lab: Lab) -> None:
    one = service(
        "lb", "10.96.0.16", nodePort=30016, externalTrafficPolicy="Local",
        type="LoadBalancer", healthCheckNodePort=32016,
    )  # fmt: skip
    await lab.publish(one, endpoint_slice("lb", "pod1"))

    def status() -> int:
        try:
            return lab.get("/", 32016)[0]
        except ConnectionRefusedError:
            return 0

    await until("check port", lambda: status() == 200)
    await lab.api.put("endpointslices", endpoint_slice("lb", "pod1", node="w2"))
    await until("no local endpoint", lambda: status() == 503)
    await lab.api.delete("services", one)
    await until("closed", lambda: status() == 0)


async def test_metrics_ask_for_a_certificate_and_have_upstreams_names(lab: Lab) -> None:
    names, table = (
        (await asyncio.to_thread(lab.metrics)),
        "kube-proxy" if lab.backend == NFTABLES else "nat",
    )
    for name in (
        "kubeproxy_sync_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count",
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        "kubeproxy_sync_proxy_rules_service_changes_pending",
        f'kubeproxy_sync_proxy_rules_iptables_total{{table="{table}"}}',
        'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external"}',
        "go_goroutines",
    ):
        assert name in names
    with pytest.raises((ConnectionError, OSError)):
        lab.get("/metrics", 10249)


async def test_a_restart_writes_nothing_and_cleanup_leaves_nothing(lab: Lab) -> None:
    """The rules outlive the process; the next one finds them right."""
    assert lab.stop() == 0
    assert ask(lab.world.pods["pod1"], "10.96.0.2", 80)[0] == "pod2"
    written = lab.restored
    lab.start()
    await until("synced again", lambda: _synced(lab), 60)
    assert lab.restored == written
    assert lab.stop() == 0
    tool = lab.backend if lab.backend in IPTABLES else "nft"
    lab.world.node.run(f"iptables-{tool}", "-A", "FORWARD", "-s", "203.0.113.7", "-j", "DROP")
    await asyncio.to_thread(lab.cleanup)
    for backend in IPTABLES:
        assert "KUBE-" not in lab.rules(backend)
        assert "chain" not in lab.rules(NFTABLES)
    assert "-A FORWARD -s 203.0.113.7/32 -j DROP" in lab.rules(tool)
    await asyncio.to_thread(lab.cleanup)  # nothing left is no error


def _synced(lab: Lab) -> bool:
    try:
        return lab.metrics()[LAST_SYNC] > 0
    except ConnectionError:
        return False


@pytest.mark.parametrize("rule", ["-A KUBE-BAD -j KUBE-MISSING", "-A KUBE-BAD -p tcp -j REJECT"])
async def test_a_bad_rule_is_named(lab: Lab, rule: str) -> None:
    """By its line number, by the chain that it names, or at least by its own chain."""
    if lab.backend == NFTABLES:
        pytest.skip("about iptables-restore's complaints")
    text = f"*nat\n:KUBE-BAD - [0:0]\n-A KUBE-BAD -s 192.0.2.1 -j RETURN\n{rule}\nCOMMIT\n"
    bad = Restore(text, {"nat": 2}, ("nat/KUBE-BAD",))
    command = f"iptables-{lab.backend}-restore --noflush 2>&1; true"
    complaint = explain(bad, lab.world.node.run("sh", "-c", command, text=bad.text))
    refused_as_a_whole = lab.backend == "legacy" and "REJECT" in rule
    named = "while writing nat/KUBE-BAD" if refused_as_a_whole else f"(rule: {rule})"
    assert named in complaint
    assert "KUBE-BAD" not in lab.rules()
