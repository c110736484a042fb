"""What containers leave where the kubelet reads, writes and removes: links, FIFOs, huge files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from tests.component.kubelet_harness import Machine, Pods, machine, until, waiting_reason
from tests.component.kubelet_harness import pod as simple_pod
from tests.component.runtime_harness import wait_until
from tests.security.loopwatch import Watch, watched
from tests.security.pod_attacks import attacker, message, python, shell

pytestmark = pytest.mark.root
SECRET = "the node's secret"
SERVE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
MiB = 1 << 20


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with watched(tmp_path_factory.mktemp("loops")) as made:
        yield made


@pytest.fixture(scope="module")
def node(images: Path, watch: Watch) -> Iterator[Machine]:
    with machine(images, "crun") as made:
        outside = made.lab.root / "outside"
        outside.mkdir()
        (outside / "secret").write_text(SECRET)
        pattern = f"{kubelet(made)}-*.head"
        wait_until("the kubelet's loop turns", lambda: [*watch.directory.glob(pattern)])
        try:
            yield made
        finally:
            print(made.tail())  # pytest shows it with a failure


def kubelet(node: Machine) -> int:
    assert node.alive("kubelet")
    return node._processes["kubelet"].pid


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def is_gone(path: Path) -> bool:
    return not path.exists()


def pod_dir(node: Machine, pod: core.Pod) -> Path:
    return node.lab.root / "kubelet/pods" / pod.metadata.uid


# ---- the termination message

TRAPS = {
    "link": "ln -s {secret} /v/m",
    "fifo": "mkfifo /v/m",
    "directory": "mkdir /v/m",
    "socket": "nc -lU /v/m & sleep 0.2",
    "device": "mknod /v/m c 1 5",
    "endless": "truncate -s 3G /v/m",
    "swapped": "echo -n mine > /v/m",
}


@pytest.mark.parametrize("trap", list(TRAPS))
async def test_a_termination_message_is_a_file_or_nothing(
    node: Machine, watch: Watch, pods: Pods, trap: str
) -> None:
    """The message's path is a mount of the container's volume: what lies there, it decides.

    Nothing of the node comes into the status, and the pod beside runs meanwhile.
    """
    secret = node.lab.root / "outside/secret"
    plant = shell("plant", TRAPS[trap].format(secret=secret), "v:/v")
    swap = f"rm /v/m; ln -s {secret} /v/m; exit 1" if trap == "swapped" else "exit 1"
    victim = shell("c", swap, "v:/v", "v:/dev/termination-log:m")
    if trap == "link":  # as a subPath it is refused; here the runtime mounts onto it
        victim = shell("c", swap, "v:/v", terminationMessagePath="/v/m")
    beside = simple_pod("beside", "sh", "-c", SERVE)
    loop = watch.of(kubelet(node))
    with loop.during() as seen:
        await pods.create(attacker(f"term-{trap}", victim, initContainers=[plant]))
        done = await pods.when(f"term-{trap}", "has ended", lambda p: message(p, "c") is not None)
        await pods.ready(beside)
    text = message(done, "c") or ""
    assert SECRET not in text
    assert text.strip("\0") == ("mine" if trap == "swapped" else "")
    assert len(text) <= 4096
    assert seen.longest < 100, seen.holds


async def test_a_host_path_in_the_message_s_place_follows_no_link(
    node: Machine, pods: Pods
) -> None:
    """As the issue's attack: the path that the runtime was given leads through a planted link."""
    place = node.lab.root / "hostpath"
    (place / "d").mkdir(parents=True)
    (place / "d/m").write_text("")
    volumes = [{"name": "h", "hostPath": {"path": str(place)}},
               {"name": "m", "hostPath": {"path": str(place / "d/m")}}]  # fmt: skip
    swap = f"mv /h/d /h/old; mkdir /h/d; ln -s {node.lab.root}/outside/secret /h/d/m; exit 1"
    victim = shell("c", swap, "h:/h", "m:/dev/termination-log")
    await pods.create(attacker("hostlink", victim, volumes=volumes))
    done = await pods.when("hostlink", "has ended", lambda p: message(p, "c") is not None)
    assert message(done, "c") == ""


async def test_an_honest_message_arrives(pods: Pods) -> None:
    """As upstream: the end of it, where it is too long; of the log, where that is wished."""
    long = shell("long", "seq 1 5000 > /dev/termination-log")
    log = shell("log", "echo to the log; exit 3",
                terminationMessagePolicy="FallbackToLogsOnError")  # fmt: skip
    await pods.create(attacker("honest", long, log))
    done = await pods.when(
        "honest", "has ended", lambda p: None not in (message(p, "long"), message(p, "log"))
    )
    assert (message(done, "long") or "").endswith("\n4999\n5000\n")
    assert len(message(done, "long") or "") == 4096
    assert message(done, "log") == "to the log"


# ---- logs


@pytest.mark.parametrize("trap", ["link", "fifo", "directory-link"])
async def test_a_log_that_was_exchanged_is_not_read(
    node: Machine, watch: Watch, pods: Pods, trap: str
) -> None:
    """With the directory of logs as a hostPath, a container can put anything in its place."""
    name = f"log-{trap}"
    secret = node.lab.root / "outside/secret"
    script = {
        "link": f"cd /logs/*_{name}_*/c; rm 0.log; ln -s {secret} 0.log",
        "fifo": f"cd /logs/*_{name}_*/c; rm 0.log; mkfifo 0.log",
        "directory-link": f"mkdir /logs/x; ln -s {secret} /logs/x/0.log; "
        f"cd /logs/*_{name}_*; mv c old; ln -s ../x c",
    }[trap]
    volumes = [{"name": "logs", "hostPath": {"path": str(node.lab.logs)}}]
    victim = shell("c", f"{script}; touch /v/done; {SERVE}", "v:/v", "logs:/logs",
                   readinessProbe={"exec": {"command": ["ls", "/v/done"]}, "periodSeconds": 1},
                   terminationMessagePolicy="FallbackToLogsOnError")  # fmt: skip
    await pods.ready(attacker(name, victim, volumes=volumes))
    loop = watch.of(kubelet(node))
    with loop.during() as seen:
        read = await asyncio.to_thread(node.kubectl, "logs", name, "-c", "c", check=False)
    assert SECRET not in read.stdout + read.stderr
    assert "failed to open log file" in read.stdout + read.stderr
    assert seen.longest < 100, seen.holds


@pytest.mark.parametrize("trap", ["file", "directory"])
async def test_a_log_is_not_written_through_a_link(node: Machine, pods: Pods, trap: str) -> None:
    """The next run's log is led to a file of the node before there is one."""
    name, stolen = f"write-{trap}", node.lab.root / "outside" / f"stolen-{trap}"
    if trap == "directory":
        stolen.mkdir()
    script = {
        "file": f"cd /logs/*_{name}_*/c; ln -s {stolen} 1.log",
        "directory": f"cd /logs/*_{name}_*; mv c old; ln -s {stolen} c",
    }[trap]
    volumes = [{"name": "logs", "hostPath": {"path": str(node.lab.logs)}}]
    victim = shell("c", f"{script}; echo '* * * * * root evil'; exit 1", "logs:/logs")
    await pods.create(attacker(name, victim, volumes=volumes, restartPolicy="OnFailure"))
    refused = await pods.when(name, "is refused", lambda p: waiting_reason(p) in (
        "CreateContainerError", "RunContainerError"
    ))  # fmt: skip
    assert refused.status.container_statuses[0].restart_count == 0
    assert not stolen.exists() or not list(stolen.iterdir())


# ---- /etc/hosts


async def test_a_huge_etc_hosts_costs_nothing(node: Machine, pods: Pods) -> None:
    grow = shell("grow", f"truncate -s 700M /etc/hosts; touch /v/done; {SERVE}", "v:/v")
    again = shell("again", "while ! test -e /v/done; do sleep 0.1; done; exit 1", "v:/v")
    before = peak_bytes(kubelet(node))
    await pods.create(attacker("hosts", grow, again, restartPolicy="Always"))
    await pods.when(
        "hosts", "has started again",
        lambda p: sum(s.restart_count or 0 for s in p.status.container_statuses) >= 1,
    )  # fmt: skip
    assert peak_bytes(kubelet(node)) < before + 100 * MiB
    logs = node.kubectl("exec", "hosts", "-c", "grow", "--", "true", check=False)
    assert logs.returncode == 0


BOMB = """
    import gzip, http.server
    body = gzip.compress(bytes(1 << 20), 9) * 400
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            open("/v/asked", "a").write(str(self.headers["Accept-Encoding"]) + "\\n")
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)
    http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""


async def test_a_probe_s_answer_is_not_unpacked(node: Machine, pods: Pods) -> None:
    await pods.ready(simple_pod("first", "sh", "-c", SERVE))
    before = peak_bytes(kubelet(node))
    probe = {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1, "timeoutSeconds": 20}
    await pods.ready(attacker("bomb", python("c", BOMB, "v:/v", readinessProbe=probe)))
    assert peak_bytes(kubelet(node)) < before + 16 * MiB
    asked = node.kubectl("exec", "bomb", "-c", "c", "--", "cat", "/v/asked").stdout
    assert set(asked.split()) == {"None"}


# ---- what is left to remove

DEEP = """
    import os
    for top in ("/v", "/var"):  # /var lies on the overlay
        os.chdir(top)
        for _ in range(1100):
            os.mkdir("d"); os.chdir("d"); open("f", "w").close()
    for n in range(5_000):
        open(f"/v/f{n}", "w").close()
    os.chdir("/")
    os.symlink("/", "/v/root"); os.symlink("OUTSIDE", "/v/d/out"); os.mkfifo("/v/d/fifo")
    open("/dev/termination-log", "w").write("built")
"""


async def test_a_deep_and_wide_tree_is_removed_with_its_pod(
    node: Machine, watch: Watch, pods: Pods
) -> None:
    """Deeper than Python recurses and than a process may have files open, in volume and rootfs."""
    outside = node.lab.root / "outside"
    builder = python("c", DEEP.replace("OUTSIDE", str(outside)), "v:/v")
    await pods.create(attacker("deep", builder))
    done = await pods.when("deep", "has built", lambda p: message(p, "c") is not None)
    assert message(done, "c") == "built"
    loop = watch.of(kubelet(node))
    with loop.during() as seen:
        await pods.delete("deep")
        await pods.ready(simple_pod("meanwhile", "sh", "-c", SERVE))
        await pods.gone("deep")
    # The object of a pod that has ended goes at once, and the kubelet cleans up after it.
    await until("its directory is gone", lambda: is_gone(pod_dir(node, done)))
    assert (outside / "secret").read_text() == SECRET
    assert seen.longest < 100, seen.holds
    container_id = done.status.container_statuses[0].container_id.partition("://")[2]
    await until(
        "so is its rootfs", lambda: is_gone(node.lab.root / "lib/containers" / container_id)
    )


# ---- configMaps and secrets


async def _refreshed(node: Machine, pods: Pods, client: Client, name: str, value: str) -> None:
    """A kubelet that starts lets every volume follow its source."""
    await client.patch(core.ConfigMap, name, {"data": {"k": value}}, "default")
    node.stop("kubelet")
    node.start_kubelet()


async def test_projected_volumes_are_read_only_and_in_memory(
    node: Machine, client: Client, pods: Pods
) -> None:
    meta = ObjectMeta(name="ro", namespace="default")
    await client.create(core.ConfigMap(metadata=meta, data={"k": "v"}))
    await client.create(core.Secret(metadata=meta, string_data={"k": "v"}))
    label = {"path": "labels", "fieldRef": {"fieldPath": "metadata.name"}}
    volumes: list[dict[str, Any]] = [
        {"name": "a", "configMap": {"name": "ro"}},
        {"name": "b", "secret": {"secretName": "ro"}},
        {"name": "c", "downwardAPI": {"items": [label]}},
        {"name": "d", "projected": {"sources": [{"configMap": {"name": "ro"}}]}},
    ]
    script = """
        for d in a b c d; do
            touch /$d/x; rm -r /$d/..data; echo y > /$d/k; ln -s / /$d/l
            grep -q " /$d tmpfs ro" /proc/mounts && echo $d
        done 2> /dev/null > /dev/termination-log
    """
    mounts = [f"{v['name']}:/{v['name']}" for v in volumes]
    await pods.create(attacker("ro", shell("c", script, *mounts), volumes=volumes))
    done = await pods.when("ro", "has ended", lambda p: message(p, "c") is not None)
    assert (message(done, "c") or "").split() == ["a", "b", "c", "d"]
    directory = pod_dir(node, done) / "volumes"
    assert len([m for m in node.lab.mounts() if m.startswith(str(directory))]) == 4
    assert not [p for p in directory.rglob("*") if p.is_file()]  # nothing below the mounts
    await pods.delete("ro")
    await pods.gone("ro")
    await until("its directory is gone", lambda: is_gone(pod_dir(node, done)))
    assert not [m for m in node.lab.mounts() if m.startswith(str(directory))]


async def test_the_updater_never_leaves_its_volume(
    node: Machine, client: Client, pods: Pods
) -> None:
    """Also where a privileged container has made the volume writable: `..data` is led outside."""
    outside = node.lab.root / "outside/directory"
    outside.mkdir()
    (outside / "precious").write_text("x")
    meta = ObjectMeta(name="led", namespace="default")
    await client.create(core.ConfigMap(metadata=meta, data={"k": "old"}))
    volumes = [{"name": "cm", "configMap": {"name": "led"}}]
    script = f"""
        mount -o remount,rw /cm
        cd /cm; rm ..data k; ln -s {outside} ..data; ln -s {outside} k; ln -s {outside} ..data_tmp
        ln -s {outside} stray; ln -s {outside} ..old; touch /v/done
        {SERVE}
    """
    planted = {"exec": {"command": ["ls", "/v/done"]}, "periodSeconds": 1}
    container = shell("c", script, "v:/v", "cm:/cm", securityContext={"privileged": True},
                      readinessProbe=planted)  # fmt: skip
    await pods.ready(attacker("led", container, volumes=volumes))
    await _refreshed(node, pods, client, "led", "new")

    async def follows() -> bool:
        command = ("exec", "led", "-c", "c", "--", "sh", "-c", "cat /cm/k; ls -a /cm")
        done = await asyncio.to_thread(node.kubectl, *command, check=False)
        names = done.stdout.removeprefix("new").split()
        return done.stdout.startswith("new") and len(names) == 5 and "stray" not in names

    await until("the volume is right again", follows)
    assert (outside / "precious").read_text() == "x"
    assert [p.name for p in outside.iterdir()] == ["precious"]


async def test_a_restarted_kubelet_keeps_the_volume_live(
    node: Machine, client: Client, pods: Pods
) -> None:
    meta = ObjectMeta(name="kept", namespace="default")
    await client.create(core.ConfigMap(metadata=meta, data={"k": "one"}))
    volumes = [{"name": "cm", "configMap": {"name": "kept"}}]
    made = await pods.ready(attacker("kept", shell("c", SERVE, "cm:/cm"), volumes=volumes))
    mounts = [m for m in node.lab.mounts() if str(pod_dir(node, made)) in m]
    await _refreshed(node, pods, client, "kept", "two")

    async def follows() -> bool:
        command = ("exec", "kept", "-c", "c", "--", "cat", "/cm/k")
        done = await asyncio.to_thread(node.kubectl, *command, check=False)
        return done.stdout == "two"

    await until("the file has the new value", follows)
    assert [m for m in node.lab.mounts() if str(pod_dir(node, made)) in m] == mounts


async def test_the_kubelet_was_never_replaced(node: Machine) -> None:
    assert node.alive("kubelet")
    assert "pod sync broke" not in node.logs["kubelet"].read_text()
