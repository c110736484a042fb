"""A real muster-runtime process in an own network namespace, driven through its CRI socket."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc

from kube.stubs.cri import api_pb2 as cri
from kube.stubs.cri import api_pb2_grpc
from kube.stubs.runtime import images_pb2, images_pb2_grpc

REPO = Path(__file__).resolve().parents[2]
BUSYBOX = "muster.local/busybox:1"
T = TypeVar("T")


def wait_until(what: str, check: Callable[[], T], seconds: float = 60.0) -> T:
    """Poll until `check` gives something true; a bounded wait for a condition."""
    deadline = time.monotonic() + seconds
    while True:
        if result := check():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


# A machine of its own as far as cgroups go: crun refuses hybrid hosts whose cgroup2 root has
# controllers, and is content in a cgroup namespace where there are none.
_MACHINE = """
for dir in /sys/fs/cgroup/*/; do
    mkdir -p $dir/$1
    if [ -f $dir/$1/cpuset.cpus ]; then
        cat $dir/cpuset.cpus > $dir/$1/cpuset.cpus
        cat $dir/cpuset.mems > $dir/$1/cpuset.mems
        echo 1 > $dir/$1/cgroup.clone_children
    fi
    echo $$ > $dir/$1/cgroup.procs
done
exec unshare --mount --cgroup --propagation private sh -c '
    set -e
    names=$(ls /sys/fs/cgroup)
    mount -t tmpfs cgroup /sys/fs/cgroup
    for name in $names; do
        mkdir /sys/fs/cgroup/$name
        case $name in
            unified) mount -t cgroup2 cgroup2 /sys/fs/cgroup/$name ;;
            systemd) mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/$name ;;
            *) mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name ;;
        esac
    done
    echo ready
    exec sleep infinity
'
"""
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


class Lab:
    """Directories, a namespace and flags of one runtime; leaves nothing behind."""

    def __init__(self, oci_runtime: str) -> None:
        self.oci_runtime = oci_runtime
        self.name = f"mt-rt-{secrets.token_hex(3)}"
        self.root = Path("/var/tmp", self.name)
        self.state = Path("/run", self.name)
        self.socket = self.state / "cri.sock"
        self.logs = self.root / "pods"
        self.process: subprocess.Popen[bytes] | None = None
        self._machine: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None
        self.flags: tuple[str, ...] = ()  # further ones of the runtime

    def __enter__(self) -> Lab:
        try:
            self.logs.mkdir(parents=True)
            self.state.mkdir()
            subprocess.run(["ip", "netns", "add", self.name], check=True)
            subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
            if not V2:
                self._start_machine()
            self.write_network()
            self.start()
        except BaseException:  # the end of a test run, too
            self.__exit__()
            raise
        return self

    def _start_machine(self) -> None:
        self._machine = subprocess.Popen(
            ["sh", "-c", _MACHINE, "sh", self.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._machine.stdout is not None
        assert self._machine.stdout.readline() == b"ready\n"

    def inside(self, *command: str) -> list[str]:
        """A command line that runs in the machine's mount and cgroup namespaces."""
        if self._machine is None:
            return list(command)
        return ["nsenter", f"--target={self._machine.pid}", "--mount", "--cgroup", *command]

    def mounts(self) -> list[str]:
        """Mount points in the lab's own directories, oldest first."""
        pid = "self" if self._machine is None else self._machine.pid
        points = [line.split()[1] for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
        return [p for p in points if p.startswith((f"/run/{self.name}/", f"/var/tmp/{self.name}/"))]

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            for sandbox in self.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items:
                request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox.id)
                self.runtime.StopPodSandbox(request, timeout=60)
                remove = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id)
                self.runtime.RemovePodSandbox(remove, timeout=60)
        self.stop()
        clean(self.name)
        if self._machine is not None:
            assert self._machine.stdout is not None
            self._machine.stdout.close()
            self._machine.wait(60)

    def write_network(self) -> None:
        conf = {
            "cniVersion": "1.0.0",
            "name": self.name,
            "plugins": [
                {
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self.root / "ipam"),
                        "ranges": [[{"subnet": "10.254.77.0/24"}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        (self.root / "cni").mkdir(exist_ok=True)
        (self.root / "cni/10-test.conflist").write_text(json.dumps(conf))

    def start(self) -> None:
        log = (self.root / "runtime.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [
                    *self.inside("nsenter", f"--net=/run/netns/{self.name}"),
                    "env", f"--chdir={REPO}", sys.executable, "-m", "worker.runtime",
                    f"--listen={self.socket}", f"--root={self.root / 'lib'}",
                    f"--state={self.state}", f"--oci-runtime={self.oci_runtime}",
                    f"--cni-conf-dir={self.root / 'cni'}", f"--netns-dir={self.state / 'netns'}",
                    f"--cgroup-parent=/{self.name if V2 else 'pods'}", *self.flags,
                ],
                cwd=REPO, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._channel = grpc.insecure_channel(f"unix:{self.socket}")
        self.runtime = api_pb2_grpc.RuntimeServiceStub(self._channel)
        self.images = api_pb2_grpc.ImageServiceStub(self._channel)
        self.loader = images_pb2_grpc.ImagesStub(self._channel)
        wait_until("runtime serves CRI", self._serves)

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.root / "runtime.log").read_text()
        try:
            self.runtime.Version(cri.VersionRequest(), timeout=1)
        except grpc.RpcError:
            return False
        return True

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def load(self, archive: Path) -> list[images_pb2.LoadedImage]:
        request = images_pb2.LoadRequest(path=str(archive))
        return list(self.loader.Load(request, timeout=60).images)

    # ---- Pods

    def run_sandbox(self, config: cri.PodSandboxConfig) -> str:
        request = cri.RunPodSandboxRequest(config=config)
        return self.runtime.RunPodSandbox(request, timeout=60).pod_sandbox_id

    def create(self, sandbox_id: str, config: cri.ContainerConfig) -> str:
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config)
        return self.runtime.CreateContainer(request, timeout=60).container_id

    def run(self, sandbox_id: str, config: cri.ContainerConfig) -> str:
        container_id = self.create(sandbox_id, config)
        self.start_container(container_id)
        return container_id

    def start_container(self, container_id: str) -> None:
        self.runtime.StartContainer(
            cri.StartContainerRequest(container_id=container_id), timeout=60
        )

    def status(self, container_id: str) -> cri.ContainerStatus:
        request = cri.ContainerStatusRequest(container_id=container_id)
        return self.runtime.ContainerStatus(request, timeout=30).status

    def sandbox_status(self, sandbox_id: str) -> cri.PodSandboxStatus:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        return self.runtime.PodSandboxStatus(request, timeout=30).status

    def ended(self, container_id: str) -> cri.ContainerStatus:
        def check() -> cri.ContainerStatus | None:
            status = self.status(container_id)
            return status if status.state == cri.CONTAINER_EXITED else None

        return wait_until("container ends", check)

    def exec(self, container_id: str, *command: str, timeout: int = 60) -> cri.ExecSyncResponse:
        request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout)
        return self.runtime.ExecSync(request, timeout=90)

    def pod(self, name: str = "pod", **fields: object) -> cri.PodSandboxConfig:
        uid = f"{name}-{secrets.token_hex(4)}"
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=uid, namespace="default"),
            hostname=name,
            log_directory=str(self.logs / uid),
            dns_config=cri.DNSConfig(servers=["10.96.0.10"], searches=["cluster.local"]),
            labels={"app": name},
        )
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        config.MergeFrom(cri.PodSandboxConfig(**fields))
        return config


def container(*command: str, name: str = "main", attempt: int = 0) -> cri.ContainerConfig:
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=name, attempt=attempt),
        image=cri.ImageSpec(image=BUSYBOX),
        command=command,
        log_path=f"{name}/{attempt}.log",
    )
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    config.linux.resources.memory_limit_in_bytes = 64 << 20
    return config


def clean(name: str) -> None:
    """End and remove whatever carries the name, also after a test that broke half way."""
    cgroups = sorted(Path("/sys/fs/cgroup").glob(f"*/{name}/**/"), reverse=True)
    for cgroup in cgroups:
        for pid in (cgroup / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    for cgroup in cgroups:
        wait_until("cgroup empty", lambda c=cgroup: not (c / "cgroup.procs").read_text())
        cgroup.rmdir()
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([p for p in points if f"/{name}/" in p]):
        subprocess.run(["umount", "-l", mount], check=True)
    if Path("/run/netns", name).exists():
        subprocess.run(["ip", "netns", "del", name], check=True)
    for path in (Path("/run", name), Path("/var/tmp", name)):
        if path.exists():
            shutil.rmtree(path)


@contextlib.contextmanager
def lab(images: Path, oci_runtime: str = "crun") -> Iterator[Lab]:
    with Lab(oci_runtime) as made:
        for archive in sorted(images.glob("*.tar")):
            made.load(archive)
        yield made


def process_alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
