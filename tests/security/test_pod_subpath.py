"""subPath: a container that exchanges directories for links meanwhile never gets the node's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.api import core
from tests.component.kubelet_harness import (
    ContainerdLab,
    Machine,
    Pods,
    is_ready,
    machine,
    waiting_reason,
)
from tests.component.runtime_harness import wait_until
from tests.security.pod_attacks import FLIP, attacker, python, shell

pytestmark = pytest.mark.root
MARK = "the node's own"
VICTIMS = 24


@pytest.fixture(scope="module", params=["crun", "containerd"])
def node(images: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(images, request.param) as made:
        secret = made.lab.root / "secret"
        secret.mkdir()
        (secret / "mark").write_text(MARK)
        try:
            yield made
        finally:
            print(made.tail())  # pytest shows it with a failure


def _outcomes(pod: core.Pod) -> list[str]:
    """What became of each container: its message, or why it does not start."""
    found = []
    for status in pod.status.container_statuses:
        state = status.state
        if state and state.terminated:
            found.append(state.terminated.message)
        elif state and state.waiting and state.waiting.reason.startswith("Create"):
            found.append(state.waiting.reason)
    return found


def _all_tried(pod: core.Pod, well: str) -> bool:
    """Every victim has come to something, and one at the right moment: the race was on."""
    outcomes = _outcomes(pod)
    return len(outcomes) == VICTIMS and well in outcomes


@pytest.mark.parametrize("what", ["directory", "file", "expression"])
async def test_a_race_gets_nobody_out_of_the_volume(node: Machine, pods: Pods, what: str) -> None:
    secret = node.lab.root / "secret"
    target = secret / "mark" if what == "file" else secret
    flipper = python("flip", FLIP + f"""
    os.makedirs("/v/here/a/deep")
    open("/v/here/a/deep/mark", "w").write("mine")
    if {what == "file"}:
        open("/v/here/b", "w").write("mine")
    else:
        os.mkdir("/v/here/b")
        open("/v/here/b/mark", "w").write("mine")
    os.symlink("{target}", "/v/here/c")
    os.chmod("/v/here", 0o777)
    open("/v/ready", "w").close()
    while True:
        flip("/v/here/b", "/v/here/c")
    """, "v:/v", restartPolicy="Always", startupProbe={
        "exec": {"command": ["sh", "-c", "test -e /v/ready"]}, "periodSeconds": 1,
    })  # fmt: skip
    look = "cat /m > /dev/termination-log" if what == "file" else (
        "cat /m/mark > /dev/termination-log; touch /m/planted"
    )  # fmt: skip
    victims = [shell(f"v{n}", look, "v:/m:here/b") for n in range(VICTIMS)]
    if what == "expression":
        for victim in victims:
            victim["volumeMounts"] = [{"name": "v", "mountPath": "/m", "subPathExpr": "$(D)/b"}]
            victim["env"] = [{"name": "D", "value": "here"}]
    name = f"race-{what}"
    await pods.create(attacker(name, *victims, initContainers=[flipper]))
    done = await pods.when(name, "has tried everything", lambda pod: _all_tried(pod, "mine"))
    outcomes = _outcomes(done)
    assert set(outcomes) <= {"mine", "CreateContainerConfigError"}, outcomes
    assert sorted(p.name for p in secret.iterdir()) == ["mark"]


async def test_mount_points_in_a_volume_stay_in_it(node: Machine, pods: Pods) -> None:
    """A volume mounted inside of another: the runtime makes the place for it, in a directory that
    is a link to the node's in the next moment."""
    secret = node.lab.root / "secret"
    flipper = python("flip", FLIP + f"""
    os.makedirs("/v/here/b")
    os.symlink("{secret}", "/v/here/c")
    open("/v/ready", "w").close()
    while True:
        flip("/v/here/b", "/v/here/c")
    """, "v:/v", restartPolicy="Always", startupProbe={
        "exec": {"command": ["sh", "-c", "test -e /v/ready"]}, "periodSeconds": 1,
    })  # fmt: skip
    script = "touch /v/here/b/planted; echo -n ran > /dev/termination-log"
    victims = [shell(f"v{n}", script, "v:/v", f"w:/v/here/b/made{n}") for n in range(VICTIMS)]
    volumes = [{"name": "w", "emptyDir": {}}]
    await pods.create(attacker("points", *victims, initContainers=[flipper], volumes=volumes))
    done = await pods.when("points", "has tried everything", lambda pod: _all_tried(pod, "ran"))
    outcomes = _outcomes(done)
    # runc says it as the message of a container that has ended.
    refused = ("CreateContainerError", "failed to create")
    assert all(o == "ran" or o.startswith(refused) for o in outcomes), outcomes
    left = {p.name for p in secret.iterdir()}
    if isinstance(node.lab, ContainerdLab):
        # Stock runc before 1.1.14 makes the empty directory outside (CVE-2024-45310), no more.
        left -= {f"made{n}" for n in range(VICTIMS)}
    assert left == {"mark"}


@pytest.mark.parametrize(
    ("link", "sub_path"),
    [("/", "x"), ("../../../../..", "x/etc"), ("/proc/self/root", "x"), ("/nowhere", "x/made")],
)
async def test_a_link_that_leads_out_is_refused(pods: Pods, link: str, sub_path: str) -> None:
    plant = shell("plant", f"ln -s {link} /v/x", "v:/v")
    victim = shell("c", "ls /m", f"v:/m:{sub_path}")
    await pods.create(attacker("planted", victim, initContainers=[plant]))
    refused = await pods.when(
        "planted", "is refused", lambda p: waiting_reason(p) == "CreateContainerConfigError"
    )
    waiting = refused.status.container_statuses[0].state.waiting
    assert waiting.message == 'failed to prepare subPath for volumeMount "v" of container "c"'
    assert not Path("/nowhere").exists()


async def test_sub_paths_work_as_upstream(node: Machine, pods: Pods) -> None:
    """Directories, files, links inside; what is missing is made, and any user may write there."""
    plant = shell("plant", """
        mkdir -p /v/d/e; echo -n one > /v/d/e/f; ln -s d/e /v/inside; ln -s ../d /v/d/up
    """, "v:/v")  # fmt: skip
    script = """
        exec 2>&1
        test "$(cat /a/f /b /c/e/f)" = oneoneone && touch /new/x && touch /cm/x; echo $?
        cat /cm/k; trap 'exit 0' TERM; while :; do sleep 0.1; done
    """
    main = shell(
        "c", script, "v:/a:inside", "v:/b:d/e/f", "v:/c:d/up", "v:/new:not/there/yet",
        "v:/cm:other", securityContext={"runAsUser": 1234, "runAsGroup": 1234},
    )  # fmt: skip
    made = await pods.ready(attacker("works", main, initContainers=[plant], restartPolicy="Always"))
    wait_until("it has tried", lambda: node.kubectl("logs", "works", "-c", "c").stdout)
    log = node.kubectl("logs", "works", "-c", "c").stdout
    assert log.startswith("0\n"), log
    pod_dir = node.lab.root / "kubelet/pods" / made.metadata.uid
    points = [m for m in node.lab.mounts() if "volume-subpaths" in m and str(pod_dir) in m]
    assert len(points) == 5
    node.kubectl("exec", "works", "-c", "c", "--", "sh", "-c", "kill 1", check=False)
    await pods.when(
        "works", "runs again",
        lambda p: is_ready(p) and p.status.container_statuses[0].restart_count == 1,
    )  # fmt: skip
    again = [m for m in node.lab.mounts() if "volume-subpaths" in m and str(pod_dir) in m]
    assert sorted(again) == sorted(points)
    await pods.delete("works")
    await pods.gone("works")
    assert not [m for m in node.lab.mounts() if str(pod_dir) in m]
    assert not pod_dir.exists()
