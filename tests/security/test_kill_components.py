"""kill -9 of each component, three times over, while a Service is being used: nothing else notices.

No request fails, no container restarts, no pod is evicted, no other component ends, and nothing is
left behind: what a component keeps outside itself it finds again when systemd has started it anew.
"""

from __future__ import annotations

import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from provision.state import Store
from tests.lab.lab_driver import LabDriver, eventually

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(600)]

ROUNDS = 3
MASTER = ("kvstore", "apiserver", "scheduler", "controller-manager")
EVERYWHERE = ("runtime", "kubelet", "proxy", "network")
WATCHING = ("state-metrics",)
# What a component could leave behind on its machine, in comparable form.
TRACES = (
    "ls /run/netns",
    "cut -d' ' -f2 /proc/self/mounts | sort",
    "find /sys/fs/cgroup -path '*kubepods*' -type d | sort",
    "pgrep -c conmon",
    "ps -eo stat,comm --no-headers | grep ^Z",
    "ip -o link | cut -d: -f2 | sort",
    "iptables-save | grep -v '^[#:]' | sed 's/\\[.*\\]//' | sort",
    "find /var/lib/kubelet/pods /run/muster -mindepth 1 -maxdepth 2 | sort",
)


@dataclass
class Load:
    """Requests to the Service from outside, one after the other through each machine."""

    urls: list[str]
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, url: str) -> None:
        while not self.stop.is_set():
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    assert answer.read().startswith(b"hello")
                self.answered += 1
            except Exception as error:
                self.failed.append(f"{url}: {error!r}")


@contextmanager
def load_on(urls: list[str]) -> Iterator[Load]:
    load = Load(urls)
    threads = [threading.Thread(target=load.run, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join(60)


def on(lab: LabDriver, machine: str, command: str) -> str:
    """What it prints. By ssh itself: `muster ssh` would take longer to start than to work."""
    store = Store()
    found = store.get(lab.name).machine(machine)
    assert found is not None
    key = str(store.directory(lab.name).ssh_key)
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    flags = [part for option in options for part in ("-o", option)]
    done = lab.run("ssh", "-F", "none", "-i", key, *flags, f"root@{found.address}", command)
    assert done.code == 0, f"{machine}: {command}: {done.err}{done.out}"
    return done.out


def restarts(lab: LabDriver, machines: list[str]) -> Counter[tuple[str, str]]:
    """How often systemd has started each unit again."""
    found: Counter[tuple[str, str]] = Counter()
    for machine in machines:
        names = EVERYWHERE + (MASTER if machine == "m1" else ())
        units = " ".join(f"muster-{name}" for name in names)
        shown = on(lab, machine, f"systemctl show -P NRestarts {units}").split()
        found.update({(machine, name): int(n) for name, n in zip(names, shown, strict=True)})
    return found


def traces(lab: LabDriver, machine: str) -> str:
    return on(lab, machine, "; ".join(f"({command}; true)" for command in TRACES))


def kill(lab: LabDriver, machine: str, name: str) -> None:
    """SIGKILL to the main process, then wait until its successor serves."""
    unit = f"muster-{name}"
    old = on(
        lab, machine, f"pid=$(systemctl show -P MainPID {unit}); echo $pid; kill -9 $pid"
    ).strip()

    def serves() -> bool:
        shown = on(lab, machine, f"systemctl show -P MainPID -P ActiveState {unit}").split()
        return "active" in shown and old not in shown and "0" not in shown

    eventually(serves, 60, f"{unit} on {machine} serves again")


def pods(lab: LabDriver) -> dict[str, tuple[str, str, int]]:
    """name: (uid, node, restarts)."""

    def facts(pod: dict[str, Any]) -> tuple[str, str, int]:
        count = sum(c["restartCount"] for c in pod["status"]["containerStatuses"])
        return pod["metadata"]["uid"], pod["spec"]["nodeName"], count

    return {pod["metadata"]["name"]: facts(pod) for pod in lab.pods("app=hello")}


def all_is_well(lab: LabDriver) -> bool:
    """Nodes ready and untainted, the Service's pods ready, leases fresh."""
    for node in lab.get("nodes")["items"]:
        ready = [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]
        taints = [t["key"] for t in node["spec"].get("taints", ())]
        assert ready == ["True"], node["metadata"]["name"]
        assert not [t for t in taints if "control-plane" not in t], taints
    slices = lab.get("endpointslices", "-l", "kubernetes.io/service-name=hello")["items"]
    assert [e["conditions"]["ready"] for s in slices for e in s["endpoints"]] == [True] * 4
    return True


def kill_all_components(lab: LabDriver) -> None:
    machines = sorted(lab.addresses())
    port = lab.get("service", "hello")["spec"]["ports"][0]["nodePort"]
    urls = [f"http://{address}:{port}/" for address in lab.addresses().values()]
    eventually(lambda: all_is_well(lab), 60, "the lab is whole")
    before, started = pods(lab), restarts(lab, machines)
    left = {machine: traces(lab, machine) for machine in machines}
    killed: Counter[tuple[str, str]] = Counter()
    with load_on(urls) as load:
        for number in range(ROUNDS):
            worker = f"w{1 + number % 2}"
            for machine, names in (("m1", MASTER), (worker, EVERYWHERE)):
                for name in names:
                    kill(lab, machine, name)
                    killed[machine, name] += 1
        eventually(lambda: all_is_well(lab), 60, "the lab is whole again")
    print(f"{killed.total()} kills, {load.answered} requests answered, {len(load.failed)} failed")
    assert load.failed == []
    assert load.answered > 100
    assert pods(lab) == before
    assert restarts(lab, machines) - started == killed
    evicted = [e["reason"] for e in lab.get("events", "-A")["items"]]
    assert not {"TaintManagerEviction", "Evicted", "NodeNotReady"} & set(evicted)
    for machine in machines:
        eventually(lambda m=machine: traces(lab, m) == left[m], 60, f"nothing left on {machine}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDriver]:
    driver = LabDriver("t-kill", tmp_path_factory.mktemp("kube") / "config")
    done = driver.muster("up", "--name", driver.name, timeout=420)
    try:
        assert done.code == 0, done.err + done.out
        driver.kubectl("apply", "-f", "examples/hello.yaml")
        driver.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
        yield driver
    finally:
        down = driver.muster("down", "--name", driver.name)
    assert down.code == 0, down.err


def test_no_unit_may_more_than_its_work_needs(lab: LabDriver) -> None:
    """systemd's own count, on the machine, of what each unit is left to do (10 is everything)."""
    shown = on(lab, "m1", "systemd-analyze security --no-pager")
    exposure = {
        line.split()[0].removesuffix(".service").removeprefix("muster-"): float(line.split()[1])
        for line in shown.splitlines()
        if line.startswith("muster-")
    }
    assert set(exposure) == {*MASTER, *EVERYWHERE, *WATCHING}
    assert exposure.pop("runtime") < 10  # what it may not do, no privileged pod may
    assert exposure.pop("kubelet") < 6
    assert max(exposure.values()) < 5, exposure


def test_master_components_are_users_without_capabilities(lab: LabDriver) -> None:
    for name in MASTER:
        unit = f"$(systemctl show -P MainPID muster-{name})"
        status = on(lab, "m1", f"cat /proc/{unit}/status; ps -o user= {unit}")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] != "0", name
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0, name
        assert fields["NoNewPrivs"] == "1"


def test_a_component_reads_its_own_keys_and_no_other(lab: LabDriver) -> None:
    """What somebody who took over one component could read."""
    keys = on(lab, "m1", "find /etc/kubernetes -name '*.key' -o -name '*.conf'").split()
    own = {
        "muster-kvstore": {"etcd/server.key", "etcd/peer.key"},
        "muster-apiserver": {
            "apiserver.key", "apiserver-etcd-client.key", "apiserver-kubelet-client.key",
        },
        "muster-scheduler": {"component.key", "scheduler.conf"},
        "muster-controller-manager": {"component.key", "controller-manager.conf"},
        "muster-state-metrics": {"component.key", "state-metrics.conf"},
    }  # fmt: skip
    for user, expected in own.items():
        asked = " ".join(keys)
        tried = f"for f in {asked}; do head -c1 $f >/dev/null 2>&1 && echo $f; done; true"
        read = on(lab, "m1", f"setpriv --reuid={user} --regid={user} --init-groups sh -c '{tried}'")
        names = {
            path.removeprefix("/etc/kubernetes/").removeprefix("pki/") for path in read.split()
        }
        assert names == expected, user


def test_killing_each_component_harms_nothing(lab: LabDriver) -> None:
    kill_all_components(lab)


def test_nor_does_it_beside_two_busy_processes(lab: LabDriver) -> None:
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2)]
    try:
        kill_all_components(lab)
    finally:
        for process in busy:
            process.kill()
            process.wait()
