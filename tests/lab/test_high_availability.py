"""Three masters: the store's leader is killed, then a whole master loses power, under writes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.lab_driver import ROOT, LabDriver, eventually, host_changes, host_state

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabDriver]:
    before = host_state()
    driver = LabDriver("t-ha", tmp_path_factory.mktemp("kube") / "config")
    try:
        done = driver.muster(
            "up", "--name", driver.name, "--masters", "3", "--workers", "2", timeout=480
        )
        assert done.code == 0, done.err + done.out
        yield driver
    finally:
        down = driver.muster("down", "--name", driver.name)
    assert down.code == 0, down.err
    assert host_changes(driver.name, before, host_state()) == []


@dataclass
class Writer:
    """Writes one numbered thing after another; remembers what was acknowledged, and when."""

    name: str
    write: Callable[[int], bool]
    acknowledged: list[tuple[float, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            if self.write(number):
                self.acknowledged.append((time.monotonic(), number))

    def longest_gap(self, since: float) -> float:
        times = [since] + [at for at, _ in self.acknowledged if at >= since]
        return max((b - a for a, b in itertools.pairwise(times)), default=float("inf"))


@dataclass(frozen=True)
class Etcdctl:
    """Stock etcdctl against the masters' stores, with the lab's health-check certificate."""

    addresses: dict[str, str]  # of every machine, by name
    pki: Path

    def __call__(self, *args: str, timeout: float = 10) -> subprocess.CompletedProcess[str]:
        masters = [a for n, a in sorted(self.addresses.items()) if n.startswith("m")]
        endpoints = ",".join(f"https://{a}:2379" for a in masters)
        return subprocess.run(
            ["etcdctl", f"--endpoints={endpoints}", f"--cacert={self.pki}/etcd/ca.crt",
             f"--cert={self.pki}/etcd/healthcheck-client.crt",
             f"--key={self.pki}/etcd/healthcheck-client.key", "--command-timeout=4s",
             "--dial-timeout=1s", *args],
            env=os.environ | {"ETCDCTL_API": "3"}, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def etcdctl(lab: LabDriver) -> Etcdctl:

    state = json.loads(lab.muster("status", "--name", lab.name, "-o", "json").out)
    return Etcdctl(lab.addresses(), Path(state["pki"]))


def leader(etcdctl: Etcdctl) -> str:
    """The machine whose store leads. AssertionError: nobody does just now."""
    done = etcdctl("endpoint", "status", "-w", "json")
    for row in json.loads(done.stdout or "[]"):
        status = row["Status"]
        if status["leader"] == status["header"]["member_id"]:
            host = row["Endpoint"].removeprefix("https://").split(":")[0]
            return next(name for name, address in etcdctl.addresses.items() if address == host)
    raise AssertionError(f"no leader: {done.stdout}{done.stderr}")


@pytest.fixture
def writers(lab: LabDriver, etcdctl: Etcdctl) -> Iterator[dict[str, Writer]]:
    stamp = f"{time.time_ns()}"

    def by_etcdctl(number: int) -> bool:
        return etcdctl("put", f"/ha/{stamp}/{number}", str(number)).returncode == 0

    def by_kubectl(number: int) -> bool:
        done = lab.try_kubectl(
            "create", "configmap", f"ha-{stamp}-{number}", f"--from-literal=n={number}",
            "--request-timeout=4s", timeout=30,
        )  # fmt: skip
        return done.code == 0 or "already exists" in done.err

    found = {"etcdctl": Writer(stamp, by_etcdctl), "kubectl": Writer(stamp, by_kubectl)}
    threads = [threading.Thread(target=w.run, name=n) for n, w in found.items()]
    for thread in threads:
        thread.start()
    try:
        eventually(
            lambda: all(len(w.acknowledged) >= 5 for w in found.values()), 60, "first writes"
        )
        yield found
    finally:
        for writer in found.values():
            writer.stop.set()
        for thread in threads:
            thread.join()


def assert_kept(lab: LabDriver, etcdctl: Etcdctl, writers: dict[str, Writer]) -> None:
    """Every acknowledged write can be read back."""
    stamp = writers["etcdctl"].name
    # Before reading: a writer may still be at its last one.
    puts, creates = ({n for _, n in writers[w].acknowledged} for w in ("etcdctl", "kubectl"))

    def kept() -> set[int]:
        done = etcdctl("get", f"/ha/{stamp}/", "--prefix", "--keys-only", timeout=30)
        assert done.returncode == 0, done.stderr
        return {int(key.rsplit("/", 1)[1]) for key in done.stdout.split()}

    assert puts <= eventually(kept, 30, "the keys are told")
    names = lab.kubectl("get", "configmaps", "-o", "name").split()
    assert {f"configmap/ha-{stamp}-{n}" for n in creates} <= set(names)


def resume(writers: dict[str, Writer], since: float) -> dict[str, float]:
    """Wait until both writers go on; the longest gap of each."""

    def going_on() -> bool:
        return all(
            len([1 for at, _ in w.acknowledged if at > since + 5]) >= 5 for w in writers.values()
        )

    eventually(going_on, 60, "writes go on after the fault")
    return {name: round(w.longest_gap(since), 2) for name, w in writers.items()}


def test_killing_the_stores_leader_loses_no_acknowledged_write(
    lab: LabDriver, etcdctl: Etcdctl, writers: dict[str, Writer]
) -> None:
    victim = eventually(lambda: leader(etcdctl), 30, "a leader")
    since = time.monotonic()
    done = lab.ssh(victim, "kill -9 $(systemctl show -p MainPID --value muster-kvstore)")
    assert done.code == 0, done.err
    gaps = resume(writers, since)
    print("longest gap between acknowledged writes, seconds:", gaps)
    for writer in writers.values():
        writer.stop.set()
    assert_kept(lab, etcdctl, writers)
    eventually(
        lambda: etcdctl("endpoint", "health").returncode == 0, 30, "all three members healthy"
    )


def test_a_master_that_loses_power_loses_no_write_and_rejoins(
    lab: LabDriver, etcdctl: Etcdctl, writers: dict[str, Writer]
) -> None:
    victim = eventually(lambda: leader(etcdctl), 30, "a leader")
    since = time.monotonic()
    done = lab.muster("node", "stop", "--name", lab.name, "--force", victim)
    assert done.code == 0, done.err
    gaps = resume(writers, since)
    print("longest gap between acknowledged writes, seconds:", gaps)
    done = lab.muster("node", "start", "--name", lab.name, victim)
    assert done.code == 0, done.err
    for writer in writers.values():
        writer.stop.set()
    assert_kept(lab, etcdctl, writers)

    def rejoined() -> bool:
        nodes = {n["metadata"]["name"]: n for n in lab.get("nodes")["items"]}
        ready = {c["type"]: c["status"] for c in nodes[victim]["status"]["conditions"]}
        return ready["Ready"] == "True" and etcdctl("endpoint", "health").returncode == 0

    eventually(rejoined, 60, "the master rejoins")


def test_a_snapshot_takes_the_lab_back(lab: LabDriver, tmp_path: Path) -> None:
    """What was made since is gone, what was deleted is there, and what runs goes on running."""
    hello = str(ROOT / "examples" / "hello.yaml")
    lab.kubectl("apply", "-f", hello)
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=120s", timeout=150)
    lab.kubectl("create", "configmap", "doomed")
    was = {pod["metadata"]["uid"] for pod in lab.pods("app=hello")}
    file = tmp_path / "snapshot"
    saved = lab.muster("kv", "snapshot", "save", "--name", lab.name, str(file))
    assert saved.code == 0, saved.err
    lab.kubectl("delete", "configmap", "doomed")
    lab.kubectl("create", "configmap", "since")
    done = lab.muster("kv", "snapshot", "restore", "--name", lab.name, str(file))
    assert done.code == 0, done.err + done.out
    names = {item["metadata"]["name"] for item in lab.get("configmaps")["items"]}
    assert "doomed" in names
    assert "since" not in names
    lab.kubectl("scale", "deployment/hello", "--replicas=6")  # the controllers and kubelets follow
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=120s", timeout=150)
    pods = lab.pods("app=hello")
    assert was <= {pod["metadata"]["uid"] for pod in pods}
    assert not any(s["restartCount"] for p in pods for s in p["status"]["containerStatuses"])
    # A clean stop is no failure.
    journal = lab.ssh("m1", "journalctl -u 'muster-*' -o cat | grep \"Failed with result 'exit\"")
    assert journal.out == ""


def test_a_snapshot_goes_to_all_masters_or_to_none(lab: LabDriver, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    lab.muster("kv", "snapshot", "save", "--name", lab.name, str(file))
    lab.kubectl("create", "configmap", "kept")
    # Nothing can be set aside on this one, while the others may have swapped already.
    blocked = "/var/lib/muster/kvstore.before-restore"
    done = lab.ssh("m2", f"mkdir -p {blocked}/x && mount -t tmpfs none {blocked}/x")
    assert done.code == 0, done.err
    try:
        done = lab.muster("kv", "snapshot", "restore", "--name", lab.name, str(file))
        assert done.code == 6
        assert "busy" in done.err
    finally:
        lab.ssh("m2", f"umount {blocked}/x")
    eventually(lambda: lab.kubectl("get", "configmap", "kept"), 60, "the lab is as it was")
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    done = lab.muster("kv", "snapshot", "restore", "--name", lab.name, str(file))
    assert done.code == 1
    lab.kubectl("get", "configmap", "kept")
