"""A lab of virtual machines, from `muster up` to `muster down`: Vagrant, libvirt, QEMU.

The processors are emulated (TCG), so it runs where there is no KVM, ten to twenty times slower
than on real ones; hence every generous limit here. `make test-vagrant` runs it, nothing else does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from provision.bundle import ensure_bundle
from provision.state import state_root
from tests.lab.lab_driver import ROOT, eventually
from tests.lab.libvirt_host import LibvirtHost, VagrantDriver

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.vagrant, pytest.mark.timeout(1800)]

BUILD_BOX = Path(__file__).parent / "vagrant_box" / "build.sh"
BOX_FOLDER = Path(os.environ.get("MUSTER_TEST_BOX", "/var/tmp/muster-box"))
BOX = "muster-test"
PROGRAMS = ("vagrant", "libvirtd", "virsh", "qemu-system-x86_64", "dnsmasq", "kubectl", "curl")


@pytest.fixture(scope="module")
def box() -> Path:
    """The folder of the box, its kernel and its initrd; built once, in about six minutes."""
    if not (BOX_FOLDER / "muster-test.box").exists():
        subprocess.run([str(BUILD_BOX), str(BOX_FOLDER)], check=True, timeout=1500)
    return BOX_FOLDER


@pytest.fixture(scope="module")
def host() -> Iterator[LibvirtHost]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    assert not missing, f"{', '.join(missing)} not found: `make test-vagrant` installs what it can"
    # Disks, so not on a tmpfs; overlay and libvirt want them on a file system of their own kind.
    folder = Path(tempfile.mkdtemp(prefix="muster-vagrant-", dir="/var/tmp"))
    try:
        running = LibvirtHost.start(folder)
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lab(box: Path, host: LibvirtHost) -> Iterator[VagrantDriver]:
    """One master and one worker, up; whatever happens, they are taken down again."""
    driver = VagrantDriver("t-vagrant", host.folder / "kubeconfig", host)
    _share_bundle(host.folder / "labs")
    added = driver.run(
        *("vagrant", "box", "add", "--name", BOX, "--provider", "libvirt"),
        str(box / "muster-test.box"), timeout=300,
    )  # fmt: skip
    assert added.code == 0, added.err + added.out
    file = host.folder / "lab.yaml"
    file.write_text(yaml.safe_dump(lab_file(driver.name, box)))
    try:
        done = driver.muster("up", "-f", str(file), "--timeout", "900", timeout=1700)
        print(done.err + done.out)
        assert done.code == 0, done.err + done.out
        yield driver
    finally:
        driver.muster("down", "--name", driver.name, timeout=400)


def lab_file(name: str, box: Path) -> dict[str, object]:
    """The masters' eight processes get both of a small host's processors."""
    return {
        "apiVersion": "muster/v1",
        "kind": "Lab",
        "metadata": {"name": name},
        "spec": {
            "masters": [{"cpus": 2, "memory": "1Gi"}],
            "workers": [{"cpus": 1, "memory": "1Gi"}],
            # The fast profile takes slow machines for dead ones.
            "timers": "kubernetes",
            "network": {"subnet": "10.209.7.0/24"},
            "provider": "vagrant",
            "vagrant": {
                "box": BOX,
                "guest": "debian",
                "insertKey": False,
                "bootSeconds": 900,
                "haltSeconds": 300,
                "libvirt": {
                    "driver": "qemu",
                    "cpu_mode": "custom",
                    "cpu_model": "Nehalem",
                    "kernel": str(box / "vmlinuz"),
                    "initrd": str(box / "initrd.img"),
                    "cmd_line": "root=/dev/vda rw console=ttyS0 net.ifnames=0",
                },
            },
        },
    }


def _share_bundle(labs: Path) -> None:
    """The machines' packages, fetched out here: in there, no package index can be reached."""
    cache = state_root() / ".cache"
    ensure_bundle(cache / "bundle", print)
    labs.mkdir(mode=0o700)
    (labs / ".cache").symlink_to(cache)


def test_both_machines_are_ready_nodes(lab: VagrantDriver) -> None:
    print(lab.kubectl("get", "nodes", "-o", "wide"))
    nodes = lab.get("nodes")["items"]
    assert sorted(n["metadata"]["name"] for n in nodes) == ["m1", "w1"]
    for node in nodes:
        conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
    # Not those of the network that Vagrant logs in by.
    assert lab.addresses() == {"m1": "10.209.7.11", "w1": "10.209.7.21"}
    kernel = nodes[0]["status"]["nodeInfo"]["kernelVersion"]
    assert kernel != os.uname().release, "the node runs on this host's kernel"


def test_an_application_answers_through_its_node_port(lab: VagrantDriver) -> None:
    manifest = (ROOT / "examples" / "hello.yaml").read_text()
    assert "replicas: 4" in manifest
    lab.kubectl("apply", "-f", "-", stdin=manifest.replace("replicas: 4", "replicas: 2"))
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=400s", timeout=420)
    print(lab.kubectl("get", "pods", "-o", "wide"))
    pods = {pod["metadata"]["name"] for pod in lab.pods("app=hello")}
    port = lab.get("service", "hello")["spec"]["ports"][0]["nodePort"]
    for address in lab.addresses().values():
        ask = ("curl", "-sS", "-m", "20", f"http://{address}:{port}/")
        # A rollout does not wait for the proxies, and on emulated machines they take seconds.
        eventually(partial(_answered, lab, ask), 120, f"an answer from {address}")
        answers = [lab.run(*ask) for _ in "1234"]
        print(address, [answer.out for answer in answers])
        for answer in answers:
            assert answer.out.startswith("hello 1 from "), answer.err
            assert answer.out.split()[-1] in pods


def _answered(lab: VagrantDriver, ask: tuple[str, ...]) -> bool:
    return lab.run(*ask).code == 0


def test_stop_and_start_bring_back_addresses_and_pods(lab: VagrantDriver) -> None:
    uids = {pod["metadata"]["uid"] for pod in lab.pods("app=hello")}
    stopped = lab.muster("stop", "--name", lab.name, timeout=400)
    print(stopped.err)
    assert stopped.code == 0, stopped.err
    assert lab.host.names("list", "--name") == []
    started = lab.muster("start", "--name", lab.name, "--timeout", "900", timeout=1500)
    print(started.err)
    assert started.code == 0, started.err
    assert lab.addresses() == {"m1": "10.209.7.11", "w1": "10.209.7.21"}
    lab.kubectl("rollout", "status", "deployment/hello", "--timeout=400s", timeout=420)
    assert {pod["metadata"]["uid"] for pod in lab.pods("app=hello")} == uids


def test_down_removes_domains_networks_and_disks(lab: VagrantDriver) -> None:
    assert lab.host.names("list", "--all", "--name") == [
        f"muster-{lab.name}-{m}" for m in ("m1", "w1")
    ]
    done = lab.muster("down", "--name", lab.name, timeout=400)
    print(done.err)
    assert done.code == 0, done.err
    assert lab.host.names("list", "--all", "--name") == []
    assert lab.host.names("net-list", "--all", "--name") == []
    # Vagrant keeps the box's own image for the next lab, as it does with every box.
    assert [v for v in lab.host.volumes() if "_vagrant_box_image_" not in v] == []
    assert not (lab.host.folder / "labs" / lab.name).exists()
