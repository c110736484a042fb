"""A lab of one master and two workers, from `muster up` to `muster down`, as a user sees it.

The tests share one lab and run in the order of the file; each names what it needs.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.lab_driver import LabDriver, eventually, host_changes, host_state

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDriver]:
    """A fresh lab; whatever happens, nothing of it is left behind."""
    if shutil.which("kubectl") is None:
        pytest.fail("kubectl is not on PATH: the lab tests drive the lab with the stock binary")
    before = host_state()
    driver = LabDriver("t-light", tmp_path_factory.mktemp("kube") / "config")
    driver.kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: mine\n"
        "clusters: [{name: mine, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "contexts: [{name: mine, context: {cluster: mine, user: mine}}]\n"
        "users: [{name: mine, user: {}}]\n"
    )
    try:
        done = driver.muster("up", "--name", driver.name, timeout=420)
        assert done.code == 0, done.err + done.out
        yield driver
    finally:
        down = driver.muster("down", "--name", driver.name)
    assert down.code == 0, down.err
    assert host_changes(driver.name, before, host_state()) == []
    assert not watchers(driver)
    assert {c["name"] for c in yaml.safe_load(driver.kubeconfig.read_text())["contexts"]} == {
        "mine"
    }


def watchers(lab: LabDriver) -> list[str]:
    """Processes of this host that are the lab's Prometheus."""
    return lab.run("pgrep", "-f", f"config.file=.*/{lab.name}/prometheus.yml").out.split()


@pytest.fixture(scope="module")
def hello(lab: LabDriver) -> str:
    """The example application, available."""
    lab.kubectl("apply", "-f", "examples/hello.yaml")
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    forwards = {f"--to-destination {p['status']['podIP']}:8080" for p in lab.pods("app=hello")}

    def programmed() -> bool:
        """Each machine's proxy hears of the pods by itself, a moment after they are ready."""
        for node in lab.addresses():
            rules = lab.ssh(node, "iptables-save -t nat").out
            assert all(forward in rules for forward in forwards), node
        return True

    eventually(programmed, 30, "every proxy knows every pod")
    return "hello"


def test_all_machines_are_ready_nodes(lab: LabDriver) -> None:
    nodes = lab.get("nodes")["items"]
    assert sorted(n["metadata"]["name"] for n in nodes) == ["m1", "w1", "w2"]
    for node in nodes:
        conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
    wide = lab.kubectl("get", "nodes", "-o", "wide")
    assert wide.count(" Ready ") == 3
    assert "control-plane" in wide and "INTERNAL-IP" in wide


def test_a_second_up_changes_nothing(lab: LabDriver) -> None:
    def identity() -> list[str]:
        done = lab.ssh("w1", "cat /etc/machine-id; systemctl show -p MainPID muster-kubelet")
        assert done.code == 0, done.err
        return done.out.split()

    before = identity()
    done = lab.muster("up", "--name", lab.name, timeout=300)
    assert done.code == 0, done.err + done.out
    assert identity() == before


def test_the_users_kubeconfig_keeps_its_own_contexts(lab: LabDriver) -> None:
    names = lab.kubectl("config", "get-contexts", "-o", "name").split()
    assert {"mine", f"muster-{lab.name}"} <= set(names)


class Watcher:
    """Asks the lab's Prometheus, where `muster status` says that it is."""

    def __init__(self, lab: LabDriver) -> None:
        state = json.loads(lab.muster("status", "--name", lab.name, "-o", "json").out)
        self._url: str = state["monitoring"]
        assert self._url.startswith("http://127.0.0.1:"), self._url

    def get(self, path: str) -> Any:
        return json.loads(fetch(f"{self._url}/api/v1/{path}"))["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"query?query={urllib.parse.quote(expr)}")["result"]
        return found


def fetch(url: str, timeout: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        body: bytes = answer.read()
    return body.decode()


def test_200_requests_from_every_machine_succeed_and_spread_over_all_pods(
    lab: LabDriver, hello: str
) -> None:
    address = lab.get("service", hello)["spec"]["clusterIP"]
    pods = {p["metadata"]["name"] for p in lab.pods("app=hello")}
    assert len(pods) == 4
    loop = f"for i in $(seq 200); do curl -sS -m 5 http://{address}/ || echo FAILED; done"
    for node in lab.addresses():
        done = lab.ssh(node, loop)
        answers = Counter(name for name in pods for _ in range(done.out.count(name)))
        assert sum(answers.values()) == 200, done.out[-300:] + done.err
        assert set(answers) == pods
        assert min(answers.values()) >= 20


def test_200_requests_from_inside_a_pod_succeed_and_spread(lab: LabDriver, hello: str) -> None:
    address = lab.get("service", hello)["spec"]["clusterIP"]
    pod = lab.pods("app=hello")[0]["metadata"]["name"]
    loop = f"for i in $(seq 200); do busybox nc {address} 80 < /tmp/req || echo FAILED; done"
    request = r"printf 'GET / HTTP/1.0\r\n\r\n' > /tmp/req; "
    out = lab.kubectl("exec", pod, "--", "sh", "-c", request + loop)
    names = [p["metadata"]["name"] for p in lab.pods("app=hello")]
    answers = {name: out.count(name) for name in names}
    assert sum(answers.values()) == 200, out[-300:]
    assert min(answers.values()) >= 20


def test_the_node_port_answers_on_every_machine(lab: LabDriver, hello: str) -> None:
    port = lab.get("service", hello)["spec"]["ports"][0]["nodePort"]
    for address in lab.addresses().values():
        assert "hello" in fetch(f"http://{address}:{port}/")


def test_logs_exec_and_describe(lab: LabDriver, hello: str) -> None:
    pod = lab.pods("app=hello")[0]["metadata"]["name"]
    assert lab.kubectl("exec", pod, "--", "cat", "/etc/hostname").strip() == pod
    done = lab.try_kubectl("exec", pod, "--", "sh", "-c", "echo oops >&2; exit 7")
    assert (done.code, "oops" in done.err) == (7, True)
    assert lab.kubectl("exec", "-i", pod, "--", "cat", stdin="through the pipe\n") == (
        "through the pipe\n"
    )
    assert lab.kubectl("logs", pod) == f"hello 1 serves on port 8080 as {pod}\n"
    described = lab.kubectl("describe", "pod", pod)
    assert "Successfully assigned default/" in described
    assert "Started container" in described


def test_scale_up_and_down(lab: LabDriver, hello: str) -> None:
    lab.kubectl("scale", "deployment/hello", "--replicas=6")
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    assert len(lab.pods("app=hello")) == 6
    lab.kubectl("scale", "deployment/hello", "--replicas=4")
    eventually(lambda: len(lab.pods("app=hello")) == 4, 30, "scaled down to 4 pods")


def test_a_rolling_update_under_load_fails_no_request(lab: LabDriver, hello: str) -> None:
    port = lab.get("service", hello)["spec"]["ports"][0]["nodePort"]
    addresses = list(lab.addresses().values())
    stop, failures, answers = threading.Event(), [], []

    def load(address: str) -> None:
        while not stop.is_set():
            try:
                answers.append(fetch(f"http://{address}:{port}/"))
            except OSError as error:
                failures.append(f"{time.time():.2f} {address} {error}")
            time.sleep(0.02)

    threads = [threading.Thread(target=load, args=(a,), name="load") for a in addresses]
    for thread in threads:
        thread.start()
    try:
        lab.kubectl("set", "image", "deployment/hello", "hello=muster.local/hello:2")
        lab.kubectl("rollout", "status", "deployment/hello", "--timeout=90s")
        # The old pods finish their grace under load.
        eventually(lambda: len(lab.get("pods", "-l", "app=hello")["items"]) == 4, 60, "they end")
        seen = len(answers)
        eventually(lambda: len(answers) > seen + 100, 30, "requests after that")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert answers[0].startswith("hello 1 ") and answers[-1].startswith("hello 2 ")
    assert "CHANGE-CAUSE" in lab.kubectl("rollout", "history", "deployment/hello")


def test_configmaps_secrets_and_downward_values_reach_the_container(lab: LabDriver) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"},
             "data": {"colour": "green"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"},
             "data": {"word": base64.b64encode(b"swordfish").decode()}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"},
             "spec": {
                 "restartPolicy": "Never",
                 "volumes": [{"name": "c", "configMap": {"name": "conf"}},
                             {"name": "s", "secret": {"secretName": "hidden"}},
                             {"name": "e", "emptyDir": {}}],
                 "initContainers": [
                     {"name": "first", "image": "muster.local/busybox:1",
                      "command": ["sh", "-c", "echo from-init > /e/note"],
                      "volumeMounts": [{"name": "e", "mountPath": "/e"}]}],
                 "containers": [
                     {"name": "main", "image": "muster.local/busybox:1",
                      "command": ["sh", "-c",
                                  "cat /c/colour /s/word /e/note; echo; echo $NODE $COLOUR"],
                      "env": [
                          {"name": "NODE",
                           "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                          {"name": "COLOUR",
                           "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "colour"}}}],
                      "volumeMounts": [{"name": "c", "mountPath": "/c"},
                                       {"name": "s", "mountPath": "/s"},
                                       {"name": "e", "mountPath": "/e"}]}]}},
        ],
    }  # fmt: skip
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    lab.kubectl("wait", "pod/reader", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=40s")
    out = lab.kubectl("logs", "reader")
    assert "greenswordfishfrom-init" in out
    assert lab.get("pod", "reader")["spec"]["nodeName"] + " green" in out
    lab.kubectl("delete", "pod/reader", "configmap/conf", "secret/hidden")


def test_cordon_drain_and_uncordon(lab: LabDriver, hello: str) -> None:
    lab.kubectl("drain", "w1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
    assert {p["spec"].get("nodeName") for p in lab.pods("app=hello")} <= {"w2", None}
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    lab.kubectl("uncordon", "w1")
    # Spread again for the drill, which fails the worker with most pods.
    lab.kubectl("rollout", "restart", "deployment/hello")
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=90s")
    eventually(
        lambda: {p["spec"].get("nodeName") for p in lab.pods("app=hello")} == {"w1", "w2"},
        30, "pods on both workers",
    )  # fmt: skip


def test_the_labs_prometheus_reaches_every_target(lab: LabDriver, hello: str) -> None:
    watcher = Watcher(lab)

    def all_up() -> bool:
        targets = watcher.get("targets")["activeTargets"]
        down = [(t["scrapeUrl"], t["lastError"]) for t in targets if t["health"] != "up"]
        assert targets and not down, down
        return True

    eventually(all_up, 60, "every target up")
    jobs = {row["metric"]["job"] for row in watcher.query("count by (job) (up)")}
    assert jobs == {
        "apiserver", "etcd", "kubelet", "kube-scheduler", "kube-controller-manager", "kube-proxy",
        "kube-state-metrics", "node-exporter", "muster-network", "muster-runtime",
    }  # fmt: skip


def test_its_rules_run_and_join_what_jobs_say_of_the_same_pods(lab: LabDriver, hello: str) -> None:
    watcher = Watcher(lab)
    used = (
        "sum by (workload) (node_namespace_pod_container:container_memory_working_set_bytes"
        " * on (cluster, namespace, pod) group_left (workload)"
        f' namespace_workload_pod:kube_pod_owner:relabel{{cluster="{lab.name}"}})'
    )

    def of_hello() -> bool:
        assert "hello" in {row["metric"].get("workload") for row in watcher.query(used)}
        return True

    eventually(of_hello, 60, "the memory of a Deployment")
    rules = [rule for group in watcher.get("rules")["groups"] for rule in group["rules"]]
    assert not [(r["name"], r["lastError"]) for r in rules if r["health"] == "err"]
    firing = {alert["labels"]["alertname"] for alert in watcher.get("alerts")["alerts"]}
    assert "Watchdog" in firing


def test_no_panel_of_a_dashboard_is_empty(lab: LabDriver, hello: str, tmp_path: Path) -> None:
    """Every query of every panel has a sample that is a number, at one time or another."""
    watcher = Watcher(lab)
    done = lab.muster("dashboards", "export", str(tmp_path))
    assert done.code == 0, done.err
    empty = {
        (board["title"], panel["title"], target["expr"])
        for board in (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
        for panel in board["panels"]
        for target in panel.get("targets", ())
    }
    assert len(empty) > 100

    def all_filled() -> bool:
        for asked in list(empty):
            expr = asked[2].replace("$cluster", lab.name).replace("$__rate_interval", "1m")
            if any(row["value"][1] != "NaN" for row in watcher.query(expr)):
                empty.remove(asked)
        assert not empty, empty
        return True

    # Availability is recorded every minute, and from what was recorded the minute before.
    eventually(all_filled, 240, "data on every panel")


def test_machines_have_series_of_their_own_network_and_disk(lab: LabDriver) -> None:
    watcher = Watcher(lab)
    for series in ("node_network_receive_bytes_total{device='eth0'}", "node_filesystem_size_bytes",
                   "node_uname_info"):  # fmt: skip
        found = {row["metric"]["instance"] for row in watcher.query(series)}
        assert found == {"m1", "w1", "w2"}, series


# What kubernetes-mixin and etcd's mixin ask of each job, by the port that serves it. Left out:
# what there is only after an event (evictions, failed operations), and what Muster does not have
# (aggregated APIs, persistent volumes).
COMMON = (
    "go_goroutines kubernetes_build_info process_cpu_seconds_total process_resident_memory_bytes"
)
WORKQUEUE = "workqueue_adds_total workqueue_depth workqueue_queue_duration_seconds_bucket"
CLIENT = "rest_client_request_duration_seconds_bucket rest_client_requests_total"
SERIES = {
    ("m1", "6443/metrics"): f"""{COMMON} apiserver_request_total
        apiserver_request_sli_duration_seconds_bucket apiserver_request_sli_duration_seconds_count
        apiserver_client_certificate_expiration_seconds_bucket
        apiserver_client_certificate_expiration_seconds_count""",
    ("m1", "10257/metrics"): f"{COMMON} {WORKQUEUE} {CLIENT}",
    ("m1", "10259/metrics"): f"""{COMMON} {CLIENT}
        scheduler_pod_scheduling_sli_duration_seconds_bucket
        scheduler_scheduling_algorithm_duration_seconds_bucket
        scheduler_scheduling_attempt_duration_seconds_bucket""",
    ("w1", "10249/metrics"): f"""{COMMON} {CLIENT}
        kubeproxy_network_programming_duration_seconds_bucket
        kubeproxy_sync_proxy_rules_duration_seconds_bucket""",
    ("w1", "10250/metrics"): f"""{COMMON} {CLIENT} kubelet_node_name kubelet_node_config_error
        kubelet_certificate_manager_client_ttl_seconds
        kubelet_certificate_manager_client_expiration_renew_errors
        kubelet_certificate_manager_server_ttl_seconds kubelet_server_expiration_renew_errors
        kubelet_pleg_relist_duration_seconds_bucket kubelet_pleg_relist_interval_seconds_bucket
        kubelet_pod_start_duration_seconds_bucket kubelet_pod_worker_duration_seconds_bucket
        kubelet_running_containers kubelet_running_pods kubelet_runtime_operations_total
        kubelet_runtime_operations_duration_seconds_bucket""",
    ("w1", "10250/metrics/cadvisor"): """container_cpu_cfs_periods_total
        container_cpu_cfs_throttled_periods_total container_cpu_usage_seconds_total
        container_memory_cache container_memory_rss container_memory_swap
        container_memory_working_set_bytes container_network_receive_bytes_total
        container_network_receive_packets_total container_network_receive_packets_dropped_total
        container_network_transmit_bytes_total container_network_transmit_packets_total
        container_network_transmit_packets_dropped_total""",
    ("w1", "10250/metrics/probes"): "prober_probe_total",
    ("w1", "10250/metrics/resource"): """node_cpu_usage_seconds_total
        node_memory_working_set_bytes container_cpu_usage_seconds_total
        container_memory_working_set_bytes pod_cpu_usage_seconds_total
        pod_memory_working_set_bytes""",
    **{
        ("m1", f"{port}/metrics/slis"): "kubernetes_healthcheck kubernetes_healthchecks_total"
        for port in (6443, 10250, 10257, 10259)
    },
    ("m1", "2381/metrics"): f"""{COMMON} etcd_server_has_leader etcd_server_is_leader etcd_server_id
        etcd_server_version etcd_server_leader_changes_seen_total etcd_server_quota_backend_bytes
        etcd_server_proposals_committed_total etcd_server_proposals_applied_total
        etcd_server_proposals_pending etcd_server_proposals_failed_total
        etcd_mvcc_db_total_size_in_bytes etcd_mvcc_db_total_size_in_use_in_bytes
        etcd_disk_wal_fsync_duration_seconds_bucket
        etcd_disk_backend_commit_duration_seconds_bucket
        etcd_network_client_grpc_sent_bytes_total etcd_network_client_grpc_received_bytes_total
        grpc_server_started_total grpc_server_handled_total grpc_server_handling_seconds_bucket""",
}


@pytest.mark.parametrize(("node", "where"), SERIES, ids=lambda part: part.replace("/", "-"))
def test_the_series_that_the_mixins_name_are_served(
    lab: LabDriver, hello: str, node: str, where: str
) -> None:
    state = json.loads(lab.muster("status", "--name", lab.name, "-o", "json").out)
    pki = Path(state["pki"]) / ("etcd" if where.startswith("2381") else "")
    trust = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    trust.load_cert_chain(pki / "monitoring.crt", pki / "monitoring.key")
    url = f"https://{lab.addresses()[node]}:{where}"

    def all_there() -> bool:
        with urllib.request.urlopen(url, timeout=5, context=trust) as answer:
            text: str = answer.read().decode()
        served = set(re.findall(r"^([a-z_]+)[{ ]", text, re.MULTILINE))
        missing = set(SERIES[node, where].split()) - served
        assert not missing, missing
        return True

    eventually(all_there, 15, f"every series at {where}")


def test_no_port_of_a_machine_serves_without_a_certificate(lab: LabDriver) -> None:
    """The api-server answers 401; the others do not even finish the handshake."""
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    for node, where in SERIES:
        url = f"https://{lab.addresses()[node]}:{where}"
        with pytest.raises((OSError, http.client.HTTPException)) as refused:
            urllib.request.urlopen(url, timeout=5, context=blind)
        if isinstance(refused.value, urllib.error.HTTPError):
            assert (where.split("/")[0], refused.value.code) == ("6443", 401)


def test_the_node_failure_drill_passes_and_reports(
    lab: LabDriver, hello: str, tmp_path: Path
) -> None:
    done = lab.muster(
        "drill", "run", "node-power-off", "--name", lab.name, "--report", str(tmp_path),
        timeout=240,
    )  # fmt: skip
    assert done.code in (0, 3), done.out + done.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["metrics"]["replacements_running_seconds"] <= 10
    assert report["metrics"]["failed_requests_after_withdrawal"] == 0
    assert all(phase["seconds"] is not None for phase in report["phases"])
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert lab.muster("drill", "heal", "--name", lab.name).out.strip() == "nothing to undo"


def test_stop_and_start_bring_back_addresses_pods_and_data(lab: LabDriver, hello: str) -> None:
    lab.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    before = lab.addresses()
    uids = {p["metadata"]["uid"] for p in lab.pods("app=hello")}
    assert lab.muster("stop", "--name", lab.name).code == 0
    done = lab.muster("start", "--name", lab.name)
    assert done.code == 0, done.err + done.out
    assert lab.addresses() == before
    assert lab.get("configmap", "kept")["data"] == {"a": "b"}
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=90s")
    assert {p["metadata"]["uid"] for p in lab.pods("app=hello")} == uids


def test_commands_on_machines_pass_input_output_and_status(lab: LabDriver, tmp_path: Path) -> None:
    muster = (sys.executable, "-m", "muster")
    there = (*muster, "ssh", "--name", lab.name, "m1", "--")
    done = lab.run(*there, "cat; echo err >&2; exit 7", stdin="hi\n")
    assert (done.code, done.out, done.err) == (7, "hi\n", "err\n")
    # ssh says that the terminal's connection closed: on standard error, and nowhere else.
    terminal = lab.muster("ssh", "--name", lab.name, "-tt", "m1", "--", "tty")
    assert (terminal.code, terminal.out[:9]) == (0, "/dev/pts/"), terminal.err
    (tmp_path / "a").write_text("kept")
    assert lab.muster("cp", "--name", lab.name, str(tmp_path / "a"), "m1:/root/a").code == 0
    assert lab.muster("cp", "--name", lab.name, "m1:/root/a", "w1:/root/b").code == 0
    assert lab.muster("cp", "--name", lab.name, "w1:/root/b", str(tmp_path / "b")).code == 0
    assert (tmp_path / "b").read_text() == "kept"
    done = lab.muster("exec", "--name", lab.name, "--all", "--", "hostname; [ $(hostname) != w1 ]")
    assert (done.code, sorted(done.out.splitlines())) == (1, ["m1 | m1", "w1 | w1", "w2 | w2"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("image", "load", "/nonexistent.tar"), "nonexistent.tar"),
        (("node", "stop", "w9"), "w9"),
        (("ssh", "w9", "--", "true"), "w9"),
        (("drill", "run", "no-such-drill"), "no-such-drill"),
    ],
)
def test_bad_requests_name_the_thing_and_exit_non_zero(
    lab: LabDriver, args: tuple[str, ...], said: str
) -> None:
    at = 2 if args[0] in ("image", "node", "drill") else 1
    done = lab.muster(*args[:at], "--name", lab.name, *args[at:])
    assert done.code != 0
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_request_over_the_limit_is_refused_and_loses_nothing(lab: LabDriver) -> None:
    big = json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"},
        "data": {"x": "y" * 1_700_000},
    })  # fmt: skip
    done = lab.try_kubectl("create", "-f", "-", stdin=big)
    assert done.code != 0
    assert "too large" in done.err.lower()
    assert lab.kubectl("get", "--raw", "/readyz") == "ok"


def test_a_node_that_does_not_register_is_told_with_its_kubelets_last_words(lab: LabDriver) -> None:
    """systemd is content with a process that lives and gets nowhere; the journal is not shown
    again once a failed `up` has taken its machine away."""
    wall = "OUTPUT -p tcp --dport 6444 -j REJECT --reject-with tcp-reset"
    assert lab.ssh("w1", f"iptables -I {wall}").code == 0
    try:
        lab.kubectl("delete", "node", "w1")
        done = lab.muster("up", "--name", lab.name, "--timeout", "2")
    finally:
        assert lab.ssh("w1", f"iptables -D {wall}").code == 0
    said = done.err + done.out
    assert done.code == 9, said
    assert "w1: the node is not registered" in said
    assert re.search(r"w1: muster-kubelet.service is running, restarted \d+ times, .*:\d\d", said)
    assert re.search(r"w1: .*worker\.kubelet", said), said
    lab.kubectl("wait", "node/w1", "--for=create", "--timeout=90s")
    lab.kubectl("wait", "node/w1", "--for=condition=Ready", "--timeout=90s")
