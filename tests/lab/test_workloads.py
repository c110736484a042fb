"""What people run on a lab, and what they see of it: one lab of a master and two workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab_driver import ROOT, LabDriver, eventually

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(300)]

BUSYBOX = "muster.local/busybox:1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDriver]:
    driver = LabDriver("t-work", tmp_path_factory.mktemp("kube") / "config")
    try:
        done = driver.muster("up", "--name", driver.name, timeout=420)
        assert done.code == 0, done.err + done.out
        yield driver
    finally:
        assert driver.muster("down", "--name", driver.name).code == 0


def pod(name: str, script: str = "sleep 1000", **spec: Any) -> dict[str, Any]:
    """A pod of one busybox container `c`; `container` and `spec` go over what it has."""
    container = {"name": "c", "image": BUSYBOX, "command": ["sh", "-c", script]}
    container |= spec.pop("container", {})
    labels = spec.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]} | spec,
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": ports} | spec,
    }  # fmt: skip


def apply(lab: LabDriver, *objects: dict[str, Any]) -> None:
    body = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def statuses(lab: LabDriver) -> dict[str, str]:
    """The STATUS column of every pod."""
    lines = lab.kubectl("get", "pods", "--no-headers").splitlines()
    return {fields[0]: fields[2] for fields in map(str.split, lines)}


def test_every_fate_of_a_pod_is_named_as_upstream_names_it(lab: LabDriver) -> None:
    never: dict[str, Any] = {"restartPolicy": "Never"}
    reader = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "x"}}}
    first = {"name": "i", "image": BUSYBOX, "command": ["sh", "-c", "exit 6"]}
    side = {
        "name": "s", "image": BUSYBOX, "restartPolicy": "Always",
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"],
    }  # fmt: skip
    hungry = "head -c 100m /dev/zero | tail"
    wanted = {
        "crash": "CrashLoopBackOff", "fails": "Error", "ends": "Completed", "oom": "OOMKilled",
        "no-image": "ImagePullBackOff", "never-pull": "ErrImageNeverPull",
        "no-config": "CreateContainerConfigError", "init-fails": "Init:Error",
        "nowhere": "Pending", "privileged": "Running", "sidecar": "Completed",
    }  # fmt: skip
    absent = {"image": "muster.local/absent:1"}
    apply(
        lab,
        pod("crash", "exit 3"),
        pod("fails", "exit 3", **never),
        pod("ends", "exit 0", **never),
        pod("oom", hungry, **never, container={"resources": {"limits": {"memory": "20Mi"}}}),
        pod("no-image", container=absent),
        pod("never-pull", container=absent | {"imagePullPolicy": "Never"}),
        pod("no-config", container={"env": [reader]}),
        pod("init-fails", **never, initContainers=[first]),
        pod("nowhere", nodeSelector={"disk": "ssd"}),
        pod("privileged", container={"securityContext": {"privileged": True}}),
        pod("sidecar", "exit 0", **never, initContainers=[side], terminationGracePeriodSeconds=9),
    )

    def all_there() -> bool:
        assert statuses(lab) == wanted
        return True

    eventually(all_there, 90, "each pod's status")
    told = lab.kubectl("describe", "pod", "nowhere")
    assert "0/3 nodes are available: 1 node(s) had untolerated taint" in told
    assert "2 node(s) didn't match Pod's node affinity/selector" in told
    lab.kubectl("label", "node", "w2", "disk=ssd")
    lab.kubectl("wait", "pod/nowhere", "--for=condition=Ready", "--timeout=20s")
    lab.kubectl("label", "node", "w2", "disk-")
    lab.kubectl("delete", "pods", "--all", "--wait=true")


def test_the_published_python_client_follows_a_pod_and_talks_to_it(lab: LabDriver) -> None:
    """From the first, empty status on; exec with input, and with its exit code."""
    wanted = json.dumps(pod("followed", "echo hello; sleep 1000"))
    script = str(ROOT / "tests/lab/published_client.py")
    context = f"muster-{lab.name}"
    done = lab.run(sys.executable, script, str(lab.kubeconfig), context, wanted)
    assert done.code == 0, done.err
    seen = json.loads(done.out)
    phases = seen.pop("phases")
    assert phases[0] == "Pending" and phases[-1] == "Running"
    assert seen == {
        "log": "hello\n", "answer": "from the shell\n", "code": 5, "deleted": "followed",
    }  # fmt: skip


def test_services_with_affinity_without_endpoints_and_of_one_node_only(lab: LabDriver) -> None:
    serve = {"image": "muster.local/hello:1", "command": None}
    one, two = (
        pod(name, labels={"app": "served"}, nodeName=node, container=serve)
        for name, node in (("one", "w1"), ("two", "w2"))
    )
    here = {"type": "NodePort", "externalTrafficPolicy": "Local"}
    apply(
        lab, one, two,
        pod("alone", labels={"app": "alone"}, nodeName="w1", container=serve),
        service("sticky", selector={"app": "served"}, sessionAffinity="ClientIP"),
        service("empty", selector={"app": "nobody"}),
        service("local", selector={"app": "alone"}, **here),
        service("headless", selector={"app": "served"}, clusterIP="None"),
    )  # fmt: skip
    names = ("pod/one", "pod/two", "pod/alone")
    lab.kubectl("wait", *names, "--for=condition=Ready", "--timeout=30s")
    found = {s["metadata"]["name"]: s["spec"] for s in lab.get("services")["items"]}
    sticky, empty = found["sticky"]["clusterIP"], found["empty"]["clusterIP"]

    def stays() -> bool:
        asked = lab.ssh("w2", f"for i in $(seq 10); do curl -sS -m 3 {sticky}; done | sort -u")
        assert asked.code == 0 and len(asked.out.split("\n")) == 2, asked.out + asked.err
        return True

    eventually(stays, 20, "one pod answers all")
    port, addresses = found["local"]["ports"][0]["nodePort"], lab.addresses()

    def refuses() -> bool:
        refused = lab.ssh("w1", f"curl -sS -m 3 {empty}")
        assert refused.code == 7, refused.err  # at once, by REJECT; 28 would be a time-out
        return True

    def reached() -> bool:
        codes = {node: lab.run("curl", "-sS", "-m", "2", f"http://{address}:{port}/").code
                 for node, address in addresses.items()}  # fmt: skip
        assert codes == {"m1": 28, "w1": 0, "w2": 28}
        return True

    # Each machine's proxy hears of them by itself.
    eventually(refuses, 20, "nobody's service refuses")
    eventually(reached, 40, "the local one answers where its pod is, and nowhere else")
    lab.kubectl("delete", "service", "sticky", "empty", "local", "headless")

    def no_rules() -> bool:
        rules = lab.ssh("w2", "iptables-save").out
        return not any(f"default/{name}" in rules for name in ("sticky", "empty", "local"))

    eventually(no_rules, 30, "the rules are gone")
    eventually(
        lambda: [e["metadata"]["name"] for e in lab.get("endpoints")["items"]] == ["kubernetes"],
        30, "their endpoints are gone",
    )  # fmt: skip


def test_agents_that_are_killed_take_no_pod_with_them(lab: LabDriver) -> None:
    apply(lab, *(pod(f"calm-{n}", labels={"app": "calm"}, nodeName="w1") for n in range(5)))
    lab.kubectl("wait", "pod", "-l", "app=calm", "--for=condition=Ready", "--timeout=30s")

    def facts() -> list[tuple[str, int, str]]:
        return [
            (p["metadata"]["uid"], s["restartCount"], s["containerID"])
            for p in lab.pods("app=calm")
            for s in p["status"]["containerStatuses"]
        ]

    def readiness() -> Any:
        conditions = lab.get("node", "w1")["status"]["conditions"]
        return next((c["status"], c["lastTransitionTime"]) for c in conditions
                    if c["type"] == "Ready")  # fmt: skip

    before, ready = facts(), readiness()
    for unit in ("muster-runtime", "muster-kubelet"):
        done = lab.ssh("w1", f"kill -9 $(systemctl show -p MainPID --value {unit})")
        assert done.code == 0, done.err
        eventually(lambda: lab.kubectl("exec", "calm-0", "--", "true") == "", 30, "exec works")
        assert lab.kubectl("exec", "calm-1", "--", "echo", "alive") == "alive\n"
    assert facts() == before
    assert readiness() == ready
    lab.kubectl("delete", "pod", "-l", "app=calm")


def test_systemd_ends_a_kubelet_that_stands_still_and_starts_it_anew(lab: LabDriver) -> None:
    # It stays where it is, though the kubelet is silent for longer than a node may be.
    tolerations = [{"operator": "Exists", "effect": "NoExecute"}]
    apply(lab, pod("unharmed", nodeName="w1", tolerations=tolerations))
    lab.kubectl("wait", "pod/unharmed", "--for=condition=Ready", "--timeout=30s")
    before = lab.get("pod", "unharmed")["status"]["containerStatuses"]
    # For this once, so that nobody need wait for as long as the unit has it.
    override = "/run/systemd/system/muster-kubelet.service.d/watchdog.conf"
    # Stopped first: the kubelet that runs feeds by the unit's longer interval, and systemd would
    # take its way out for a stall.
    done = lab.ssh(
        "w1",
        f"mkdir -p $(dirname {override}) && printf '[Service]\\nWatchdogSec=2\\n' > {override}"
        " && systemctl stop muster-kubelet && systemctl daemon-reload"
        " && systemctl start muster-kubelet && systemctl show -p MainPID --value muster-kubelet",
    )
    assert done.code == 0, done.err
    pid = int(done.out)
    assert lab.ssh("w1", f"kill -STOP {pid}").code == 0

    def ended() -> bool:
        journal = lab.ssh("w1", f"journalctl _PID={pid} + UNIT=muster-kubelet.service -o cat").out
        said = journal[-8000:]
        assert "Failed with result 'watchdog'" in journal, said
        # What it was at, by faulthandler.
        assert "Fatal Python error: Aborted" in journal, said
        assert "in run_forever" in journal, said
        return True

    eventually(ended, 60, "the watchdog ends it")
    assert lab.ssh("w1", f"rm {override} && systemctl daemon-reload").code == 0
    eventually(lambda: lab.kubectl("exec", "unharmed", "--", "true") == "", 60, "exec works")
    lab.kubectl("wait", "node/w1", "--for=condition=Ready", "--timeout=60s")
    assert lab.get("pod", "unharmed")["status"]["containerStatuses"] == before
    lab.kubectl("delete", "pod", "unharmed")


def test_a_deleted_node_comes_back_by_itself_with_its_pods(lab: LabDriver) -> None:
    apply(lab, pod("stays", nodeName="w2"))
    lab.kubectl("wait", "pod/stays", "--for=condition=Ready", "--timeout=30s")
    before = lab.get("node", "w2")
    lab.kubectl("delete", "node", "w2")

    def back() -> bool:
        after = lab.get("node", "w2")
        lab.kubectl("wait", "node/w2", "--for=condition=Ready", "--timeout=5s")
        return bool(after["metadata"]["uid"] != before["metadata"]["uid"])

    eventually(back, 30, "the node registers again")
    assert lab.get("node", "w2")["spec"]["podCIDR"] == before["spec"]["podCIDR"]
    assert lab.kubectl("exec", "stays", "--", "echo", "alive") == "alive\n"


def test_namespaces_go_with_all_they_hold_but_not_the_systems(lab: LabDriver) -> None:
    lab.kubectl("create", "namespace", "brief")
    lab.kubectl(
        "create", "deployment", "d", "-n", "brief", f"--image={BUSYBOX}", "--", "sleep", "9"
    )
    lab.kubectl("delete", "namespace", "brief", "--timeout=60s")
    assert lab.get("all", "-n", "brief")["items"] == []
    refused = lab.try_kubectl("delete", "namespace", "default")
    assert 'namespaces "default" is forbidden: this namespace may not be deleted' in refused.err
