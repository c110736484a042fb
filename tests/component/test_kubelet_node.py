"""A real kubelet with a real api-server over etcd, on our runtime and on stock containerd."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from kube.api import coordination, core
from kube.api.meta import ObjectMeta
from kube.client.client import Client
from kube.machinery import errors
from kube.stubs.cri import api_pb2 as cri
from provision.images import build_all
from tests.component.kubelet_harness import (
    NODE,
    NODE_IP,
    ContainerdLab,
    Machine,
    Pods,
    container_status,
    is_ready,
    machine,
    pod,
    restarts,
    runtime_pods,
    until,
    waiting_reason,
)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("images")
    build_all(out)
    return out


@pytest.fixture(scope="module", params=["crun", "containerd"])
def node(archives: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(archives, request.param) as made:
        try:
            yield made
        finally:
            print(made.tail())  # pytest shows it with a failure


@pytest.fixture
async def client(node: Machine) -> AsyncIterator[Client]:
    async with node.client() as made:
        yield made


@pytest.fixture
async def pods(client: Client) -> AsyncIterator[Pods]:
    made = Pods(client)
    yield made
    await made.clean()


SLEEP = ("sleep", "1000")
# Dies at once on SIGTERM, so that a deletion does not wait for the grace.
SERVE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")


async def test_the_node_registers_and_becomes_ready(node: Machine, client: Client) -> None:
    async def ready() -> core.Node | None:
        found = await client.get(core.Node, NODE)
        conditions = {c.type: c for c in found.status.conditions}
        return found if "Ready" in conditions and conditions["Ready"].status == "True" else None

    found = await until("node is ready", ready)
    assert found.status.capacity["cpu"] == "2"
    assert found.status.capacity["memory"] == "1048576Ki"
    assert found.metadata.labels["kubernetes.io/hostname"] == NODE
    assert [a.address for a in found.status.addresses] == [NODE_IP, NODE]
    assert any("muster.local/busybox:1" in image.names for image in found.status.images)


async def test_the_lease_is_renewed_and_belongs_to_the_node(client: Client) -> None:
    async def lease() -> coordination.Lease:
        return await client.get(coordination.Lease, NODE, "kube-node-lease")

    first = await until("there is a lease", lease)
    owner = first.metadata.owner_references[0]
    assert (owner.kind, owner.name) == ("Node", NODE)

    async def renewed() -> bool:
        now = await client.get(coordination.Lease, NODE, "kube-node-lease")
        return now.spec.renew_time > first.spec.renew_time

    await until("lease is renewed", renewed, 60)


async def test_a_pod_runs_and_goes(node: Machine, pods: Pods) -> None:
    ready = await pods.ready(pod("web", *SERVE))
    assert (ready.status.phase, ready.status.host_ip) == ("Running", NODE_IP)
    assert ready.status.pod_ip.startswith("10.254.77.")
    assert ready.status.qos_class == "BestEffort"
    assert container_status(ready).container_id.split("://")[1]
    await pods.delete("web")
    await pods.gone("web")
    assert ready.metadata.uid not in {p.metadata.uid for p in runtime_pods(node.lab)}
    assert not (node.lab.root / "kubelet/pods" / ready.metadata.uid).exists()
    assert not list(node.lab.logs.glob(f"*{ready.metadata.uid}"))


async def test_a_container_that_ignores_sigterm_is_killed_after_the_grace(pods: Pods) -> None:
    await pods.ready(pod("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))
    await pods.delete("stubborn")
    await pods.gone("stubborn")


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 0, "Succeeded"), ("Never", 3, "Failed")]
)
async def test_a_pod_that_ends(pods: Pods, policy: str, code: int, phase: str) -> None:
    await pods.create(
        pod(f"ends-{code}", "sh", "-c", f"echo bye > /dev/termination-log; exit {code}",
            restartPolicy=policy)
    )  # fmt: skip
    ended = await pods.when(f"ends-{code}", phase, lambda p: p.status.phase == phase)
    state = container_status(ended).state
    assert state and state.terminated
    assert (state.terminated.exit_code, state.terminated.message.strip()) == (code, "bye")
    assert state.terminated.reason == ("Completed" if code == 0 else "Error")


async def test_a_crashing_container_backs_off(pods: Pods) -> None:
    await pods.create(pod("crash", "sh", "-c", "exit 7"))
    found = await pods.when(
        "crash", "is in CrashLoopBackOff", lambda p: waiting_reason(p) == "CrashLoopBackOff"
    )
    status = container_status(found)
    assert (status.restart_count or 0) >= 1
    assert status.last_state and status.last_state.terminated
    assert status.last_state.terminated.exit_code == 7
    assert found.status.phase == "Running"


async def test_init_containers_run_first_and_in_order(pods: Pods) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    image = {"image": "muster.local/busybox:1"} | mount
    inits = [
        {"name": "i1", "command": ["sh", "-c", "echo 1 > /v/log"], **image},
        {"name": "i2", "command": ["sh", "-c", "echo 2 >> /v/log"], **image},
    ]
    check = "test \"$(tr -d '\\n' < /v/log)\" = 12 && exec sleep 1000"
    ready = await pods.ready(
        pod("inits", "sh", "-c", check, container=mount, initContainers=inits,
            volumes=[{"name": "v", "emptyDir": {}}])
    )  # fmt: skip
    assert [s.ready for s in ready.status.init_container_statuses] == [True, True]


async def test_a_sidecar_runs_beside_the_main_container(pods: Pods) -> None:
    sidecar = {
        "name": "side", "image": "muster.local/busybox:1", "command": list(SERVE),
        "restartPolicy": "Always",
    }  # fmt: skip
    await pods.create(
        pod("sidecar", "sh", "-c", "exit 0", initContainers=[sidecar], restartPolicy="Never")
    )
    await pods.when("sidecar", "succeeded", lambda p: p.status.phase == "Succeeded")


async def test_environment_and_files(node: Machine, client: Client, pods: Pods) -> None:
    """configMap, secret, downward API and service variables, as env and as files."""
    await client.create(
        core.ConfigMap(metadata=ObjectMeta(name="cm", namespace="default"), data={"k": "from-cm"})
    )
    secret = {"pw": base64.b64encode(b"hush").decode()}
    await client.create(
        core.Secret(metadata=ObjectMeta(name="s", namespace="default"), data=secret)
    )
    container = {
        "env": [
            {"name": "CM", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
            {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "JOINED", "value": "$(CM)-$(PW)"},
        ],
        "volumeMounts": [
            {"name": "cm", "mountPath": "/cm"},
            {"name": "s", "mountPath": "/s", "readOnly": True},
            {"name": "down", "mountPath": "/down"},
            {"name": "mem", "mountPath": "/mem"},
        ],
    }
    label = [{"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]
    volumes = [
        {"name": "cm", "configMap": {"name": "cm"}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "down", "downwardAPI": {"items": label}},
        {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    script = (
        "echo $JOINED $IP; cat /cm/k /s/pw /down/app; echo; "
        "grep -c ' /mem tmpfs' /proc/mounts; hostname; grep -c $IP /etc/hosts; "
        "echo $KUBERNETES_SERVICE_HOST; grep -c 'search default.svc.cluster.local' /etc/resolv.conf"
    )
    ended = await pods.create(
        pod("env", "sh", "-c", script, container=container, volumes=volumes,
            restartPolicy="Never", metadata={"labels": {"app": "shop"}})
    )  # fmt: skip
    ended = await pods.when("env", "ended", lambda p: p.status.phase == "Succeeded")
    lines = node.kubectl("logs", "env").stdout.splitlines()
    assert lines == [
        f"from-cm-hush {ended.status.pod_ip}", "from-cmhushshop", "1", "env", "1", "10.96.0.1", "1",
    ]  # fmt: skip


async def test_a_missing_config_map_is_said_and_then_found(client: Client, pods: Pods) -> None:
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]
    await pods.create(pod("late", *SERVE, container={"env": env}))
    await pods.when(
        "late", "says what is missing", lambda p: waiting_reason(p) == "CreateContainerConfigError"
    )
    await client.create(
        core.ConfigMap(metadata=ObjectMeta(name="late", namespace="default"), data={"k": "v"})
    )
    await pods.when("late", "is ready", is_ready)


async def test_an_image_that_is_nowhere(pods: Pods) -> None:
    image = {"image": "muster.local/nowhere:1", "imagePullPolicy": "Never"}
    await pods.create(pod("noimage", *SERVE, container=image))
    await pods.when("noimage", "says why", lambda p: waiting_reason(p) == "ErrImageNeverPull")


async def test_readiness_follows_the_probe_promptly(node: Machine, pods: Pods) -> None:
    probe = {
        "exec": {"command": ["test", "-e", "/tmp/ok"]},
        "periodSeconds": 1,
        "timeoutSeconds": 30,
        "failureThreshold": 1,
    }
    await pods.create(pod("probed", *SERVE, container={"readinessProbe": probe}))
    running = await pods.when("probed", "runs", lambda p: p.status.phase == "Running")
    assert not is_ready(running)
    node.kubectl("exec", "probed", "--", "sh", "-c", "mkdir -p /tmp; touch /tmp/ok")
    await pods.when("probed", "is ready", is_ready)
    node.kubectl("exec", "probed", "--", "rm", "/tmp/ok")
    await pods.when("probed", "is unready again", lambda p: not is_ready(p))


async def test_a_failing_liveness_probe_restarts(pods: Pods) -> None:
    probe = {"tcpSocket": {"port": 81}, "periodSeconds": 1, "failureThreshold": 1}
    await pods.create(pod("unwell", *SERVE, container={"livenessProbe": probe}))
    found = await pods.when("unwell", "was restarted", lambda p: restarts(p) >= 1)
    last = container_status(found).last_state
    assert last and last.terminated


async def test_an_http_probe_passes(pods: Pods) -> None:
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
    container = {"readinessProbe": probe, "ports": [{"name": "http", "containerPort": 8080}]}
    script = "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"
    await pods.ready(pod("http", "sh", "-c", script, container=container))


async def test_limits_reach_the_kernel(node: Machine, pods: Pods) -> None:
    """A memory hog is killed and the status says why."""
    limits = {"resources": {"limits": {"memory": "24Mi", "cpu": "500m"}}}
    # tail keeps an endless line in memory
    await pods.create(
        pod("hog", "sh", "-c", "tail /dev/zero", container=limits, restartPolicy="Never")
    )
    ended = await pods.when("hog", "failed", lambda p: p.status.phase == "Failed")
    state = container_status(ended).state
    assert ended.status.qos_class == "Guaranteed"
    assert state and state.terminated
    assert (state.terminated.reason, state.terminated.exit_code) == ("OOMKilled", 137)


async def test_hooks_run(node: Machine, pods: Pods) -> None:
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started > /h/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /h/pre"]}},
    }
    host = node.lab.root / "hooks"
    container = {"lifecycle": lifecycle, "volumeMounts": [{"name": "h", "mountPath": "/h"}]}
    volumes = [{"name": "h", "hostPath": {"path": str(host), "type": "DirectoryOrCreate"}}]
    await pods.ready(pod("hooks", *SERVE, container=container, volumes=volumes))
    assert (host / "post").read_text() == "started\n"
    await pods.delete("hooks")
    await pods.gone("hooks")
    assert (host / "pre").read_text() == "stopping\n"


async def test_logs_and_exec_through_the_api_server(node: Machine, pods: Pods) -> None:
    script = (
        "for i in 1 2 3; do echo line $i; done; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    )
    await pods.ready(pod("talk", "sh", "-c", script))

    async def said() -> bool:
        return "line 3" in node.kubectl("logs", "talk").stdout

    await until("three lines", said)  # it is ready as soon as it runs
    assert node.kubectl("logs", "talk").stdout == "line 1\nline 2\nline 3\n"
    assert node.kubectl("logs", "talk", "--tail=1").stdout == "line 3\n"
    done = node.kubectl(
        "exec", "talk", "--", "sh", "-c", "echo out; echo err >&2; exit 4", check=False
    )
    assert (done.stdout, done.returncode) == ("out\n", 4)
    assert done.stderr.startswith("err\n")


async def test_the_kubelets_port_knows_its_clients(node: Machine) -> None:
    nobody = node.identities.files("nobody", "system:node:other", "system:nodes")
    assert (await node.get(nobody, "/pods"))[0] == 403
    assert (await node.get(node.monitor, "/pods"))[0] == 403
    status, text = await node.get(node.monitor, "/metrics")
    assert status == 200
    for name in (
        f'kubelet_node_name{{node="{NODE}"}} 1.0', "kubelet_pleg_relist_duration_seconds_bucket",
        "kubelet_runtime_operations_total", "kubelet_running_pods", "go_goroutines",
    ):  # fmt: skip
        assert name in text
    status, text = await node.get(node.kubelet_client, "/pods")
    assert (status, '"kind":"PodList"' in text) == (200, True)


async def test_container_metrics(node: Machine, pods: Pods) -> None:
    await pods.ready(pod("measured", *SERVE))
    status, text = await node.get(node.monitor, "/metrics/cadvisor")
    assert status == 200
    rows = [r for r in text.splitlines() if 'pod="measured"' in r and 'container="c"' in r]
    assert any(r.startswith("container_memory_working_set_bytes{") for r in rows)
    assert any(r.startswith("container_cpu_usage_seconds_total{") for r in rows)
    assert all('image="muster.local/busybox:1"' in r for r in rows)
    assert any(r.startswith("container_cpu_cfs_periods_total{") for r in rows)
    network = [r for r in text.splitlines() if 'pod="measured"' in r and "interface=" in r]
    assert any(r.startswith("container_network_receive_packets_total{") for r in network)


async def test_a_kubelet_restart_restarts_no_container(node: Machine, pods: Pods) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 30}
    before = await pods.ready(pod("steady", *SERVE, container={"readinessProbe": probe}))
    node.stop("kubelet", signal.SIGKILL)
    node.start_kubelet()

    async def renewed() -> bool:
        status, _ = await node.get(node.monitor, "/healthz")
        return status == 200

    async def quietly() -> bool:
        try:
            return await renewed()
        except OSError:
            return False

    await until("kubelet is back", quietly)
    # The new kubelet has looked at the pod once it has said that a new one runs.
    await pods.ready(pod("after", *SERVE))
    after = await pods.get("steady")
    assert after is not None
    assert after.status == before.status


async def test_pods_deleted_while_the_kubelet_was_away_are_ended(
    node: Machine, client: Client, pods: Pods
) -> None:
    made = await pods.ready(pod("forgotten", *SERVE))
    node.stop("kubelet")
    await client.delete(core.Pod, "forgotten", "default", grace_period_seconds=0)
    node.start_kubelet()

    async def ended() -> bool:
        return made.metadata.uid not in {p.metadata.uid for p in runtime_pods(node.lab)}

    await until("lost pod is ended", ended)


async def test_a_dead_sandbox_is_replaced(node: Machine, pods: Pods) -> None:
    """What a reboot of the machine looks like to the kubelet."""
    before = await pods.ready(pod("reborn", *SERVE))
    sandbox = next(p for p in runtime_pods(node.lab) if p.metadata.uid == before.metadata.uid)
    node.lab.runtime.StopPodSandbox(
        cri.StopPodSandboxRequest(pod_sandbox_id=sandbox.id), timeout=30
    )

    def again(subject: core.Pod) -> bool:
        """In a sandbox of its own: a first try may have met the old one on its way out."""
        attempts = [p.metadata.attempt for p in runtime_pods(node.lab)
                    if p.metadata.uid == subject.metadata.uid and p.id != sandbox.id]  # fmt: skip
        return is_ready(subject) and restarts(subject) >= 1 and attempts == [1]

    after = await pods.when("reborn", "runs again", again)
    assert after.status.pod_ip


async def test_an_api_outage_loses_nothing(node: Machine, pods: Pods) -> None:
    """A container that ends while nobody listens is reported when somebody does again."""
    host = node.lab.root / "outage"
    host.mkdir()
    script = "while [ ! -e /o/go ]; do sleep 0.1; done; exit 5"
    volumes = [{"name": "o", "hostPath": {"path": str(host)}}]
    mounts = {"volumeMounts": [{"name": "o", "mountPath": "/o"}]}
    await pods.ready(
        pod(
            "outlives", "sh", "-c", script, container=mounts, volumes=volumes, restartPolicy="Never"
        )
    )
    node.stop("apiserver")
    (host / "go").touch()

    async def exited() -> bool:
        containers = node.lab.runtime.ListContainers(
            cri.ListContainersRequest(), timeout=10
        ).containers
        return any(
            c.labels["io.kubernetes.pod.name"] == "outlives" and c.state == cri.CONTAINER_EXITED
            for c in containers
        )

    await until("container ended", exited)
    await asyncio.to_thread(node.start_apiserver)
    ended = await pods.when("outlives", "failed", lambda p: p.status.phase == "Failed")
    state = container_status(ended).state
    assert state and state.terminated and state.terminated.exit_code == 5


async def test_the_runtime_is_the_one_that_was_asked_for(node: Machine, client: Client) -> None:
    info = (await client.get(core.Node, NODE)).status.node_info
    wanted = "containerd://" if isinstance(node.lab, ContainerdLab) else "muster://"
    assert info is not None
    assert info.container_runtime_version.startswith(wanted)


async def test_logs_follow_until_the_container_ends(node: Machine, pods: Pods) -> None:
    script = "echo begin; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo end"
    await pods.ready(pod("follow", "sh", "-c", "mkdir -p /tmp; " + script, restartPolicy="Never"))
    follow = node.popen_kubectl("logs", "-f", "follow")
    assert follow.stdout is not None
    assert await asyncio.to_thread(follow.stdout.readline) == b"begin\n"
    node.kubectl("exec", "follow", "--", "touch", "/tmp/go")
    rest, _ = await asyncio.to_thread(follow.communicate, None, 60)
    assert rest == b"end\n"


async def test_the_log_of_the_previous_run(node: Machine, pods: Pods) -> None:
    script = "test -e /v/again && exec sleep 1000; touch /v/again; echo first run; exit 1"
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await pods.create(
        pod("again", "sh", "-c", script, container=mount, volumes=[{"name": "v", "emptyDir": {}}])
    )
    await pods.ready(pod("once", *SERVE))
    told = node.kubectl("logs", "once", "--previous", check=False).stderr
    assert 'previous terminated container "c" in pod "once" not found' in told
    await pods.when("again", "runs again", lambda p: is_ready(p) and restarts(p) == 1)
    assert node.kubectl("logs", "again", "--previous").stdout == "first run\n"
    assert node.kubectl("logs", "again").stdout == ""


async def test_the_log_of_a_container_that_has_not_begun(node: Machine, pods: Pods) -> None:
    image = {"image": "muster.local/nowhere:1", "imagePullPolicy": "Never"}
    await pods.create(pod("mute", *SERVE, container=image))
    await pods.when("mute", "waits", lambda p: waiting_reason(p) == "ErrImageNeverPull")
    done = node.kubectl("logs", "mute", check=False)
    assert done.returncode != 0
    assert 'container "c" in pod "mute" is waiting to start: ErrImageNeverPull' in done.stderr


async def test_stdin_reaches_the_command(node: Machine, pods: Pods) -> None:
    await pods.ready(pod("reads", *SERVE))
    done = node.kubectl("exec", "-i", "reads", "--", "head", "-n", "1", text="hello\nignored\n")
    assert done.stdout == "hello\n"


async def test_the_end_of_stdin_reaches_the_command(node: Machine, pods: Pods) -> None:
    """WebSocket v5's close signal; containerd 1.6 speaks v4, which has none."""
    if isinstance(node.lab, ContainerdLab):
        pytest.skip("containerd 1.6 cannot be told that stdin has ended")
    await pods.ready(pod("counts", *SERVE))
    done = node.kubectl("exec", "-i", "counts", "--", "wc", "-c", text="12345")
    assert done.stdout.strip() == "5"


async def test_attach_shows_what_comes(node: Machine, pods: Pods) -> None:
    script = "trap 'exit 0' TERM; while :; do echo tick; sleep 0.1; done"
    await pods.ready(pod("ticks", "sh", "-c", script))
    attached = node.popen_kubectl("attach", "ticks")
    assert attached.stdout is not None
    try:
        # kubectl first says how to get a prompt.
        lines = [await asyncio.to_thread(attached.stdout.readline) for _ in range(4)]
        assert b"tick\n" in lines
    finally:
        attached.kill()
        await asyncio.to_thread(attached.communicate)


async def test_exec_into_what_is_not_there(node: Machine, pods: Pods) -> None:
    await pods.ready(pod("here", *SERVE))
    done = node.kubectl("exec", "here", "-c", "nope", "--", "true", check=False)
    assert done.returncode != 0
    assert "nope" in done.stderr
    done = node.kubectl("exec", "here", "--", "/no/such/program", check=False)
    assert done.returncode != 0
    assert "/no/such/program" in done.stderr


async def test_a_new_image_restarts_the_container_in_place(client: Client, pods: Pods) -> None:
    made = await pods.ready(pod("swap", *SERVE))
    patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": "muster.local/hello:1"}]
    await client.patch(core.Pod, "swap", patch, "default", type="json")
    after = await pods.when(
        "swap", "runs the new image",
        lambda p: is_ready(p) and container_status(p).image == "muster.local/hello:1",
    )  # fmt: skip
    assert restarts(after) == 1
    assert after.status.pod_ip == made.status.pod_ip


async def test_a_config_map_volume_follows_its_source(
    node: Machine, client: Client, pods: Pods
) -> None:
    """At the latest a minute later; a kubelet that starts looks at once."""
    meta = ObjectMeta(name="live", namespace="default")
    await client.create(core.ConfigMap(metadata=meta, data={"k": "old"}))
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    volumes = [{"name": "v", "configMap": {"name": "live"}}]
    await pods.ready(pod("reader", *SERVE, container=mount, volumes=volumes))
    await client.patch(core.ConfigMap, "live", {"data": {"k": "new"}}, "default")
    node.stop("kubelet")
    node.start_kubelet()

    async def followed() -> bool:
        done = node.kubectl("exec", "reader", "--", "cat", "/v/k", check=False)
        return done.stdout == "new"

    await until("the file has the new value", followed)


async def test_a_status_that_somebody_else_wrote_is_put_right(client: Client, pods: Pods) -> None:
    """The node lifecycle controller does this to the pods of a node that was away."""
    await pods.ready(pod("slandered", *SERVE))

    async def slandered() -> bool:
        found = await client.get(core.Pod, "slandered", "default")
        conditions = tuple(
            msgspec.structs.replace(c, status="False") if c.type == "Ready" else c
            for c in found.status.conditions
        )
        status = msgspec.structs.replace(found.status, conditions=conditions)
        try:
            await client.update_status(msgspec.structs.replace(found, status=status))
        except errors.Conflict:  # the kubelet was just writing
            return False
        return True

    await until("the wrong status is written", slandered)
    await pods.when("slandered", "is ready again", is_ready)


async def test_a_runtime_restart_is_survived(node: Machine, client: Client, pods: Pods) -> None:
    """Nobody notices: not the containers, and not the taints, which would drive them out."""
    before = await pods.ready(pod("calm", *SERVE))

    async def readiness() -> core.NodeCondition:
        conditions = (await client.get(core.Node, NODE)).status.conditions
        return next(c for c in conditions if c.type == "Ready")

    stood = await readiness()
    await asyncio.to_thread(node.lab.stop)
    await asyncio.sleep(3)  # the outage; the node's status is looked at every 2 s
    await asyncio.to_thread(node.lab.start)
    await pods.ready(pod("next", *SERVE))
    now = await readiness()
    assert (now.status, now.last_transition_time) == ("True", stood.last_transition_time)
    after = await pods.get("calm")
    assert after is not None
    assert after.status.container_statuses == before.status.container_statuses
    assert is_ready(after)


async def test_nothing_of_a_pod_stays_in_the_cgroups(node: Machine, pods: Pods) -> None:
    limits = {"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "32Mi"}}}
    made = await pods.ready(pod("grouped", *SERVE, container=limits))
    base = Path("/sys/fs/cgroup")
    pattern = f"**/pod{made.metadata.uid}"
    found = [*base.glob(f"*/{node.lab.name}/{pattern}"), *base.glob(f"{node.lab.name}/{pattern}")]
    limit = [d / name for d in found for name in ("memory.limit_in_bytes", "memory.max")]
    assert [p.read_text().strip() for p in limit if p.exists()] == [str(32 * 2**20)]
    await pods.delete("grouped")
    await pods.gone("grouped")
    assert [d for d in found if d.exists()] == []


async def test_a_volume_of_an_unknown_kind_is_said(
    node: Machine, client: Client, pods: Pods
) -> None:
    volumes = [{"name": "n", "nfs": {"server": "x", "path": "/"}}]
    await pods.create(pod("nfs", *SERVE, volumes=volumes))

    async def told() -> bool:
        events = await client.list(core.Event, "default")
        return any(
            e.reason == "FailedMount" and "nfs" in str(e.involved_object) for e in events.items
        )

    await until("event FailedMount", told)


async def test_the_host_network(node: Machine, pods: Pods) -> None:
    ready = await pods.ready(pod("hostnet", *SERVE, hostNetwork=True))
    assert ready.status.pod_ip == NODE_IP
    done = node.kubectl("exec", "hostnet", "--", "ip", "-4", "addr", "show", "dev", "lo")
    assert NODE_IP in done.stdout
    first = runtime_pods(node.lab)
    await pods.ready(pod("other", *SERVE))
    mine = [p for p in runtime_pods(node.lab) if p.metadata.name == "hostnet"]
    assert [p.id for p in mine] == [p.id for p in first if p.metadata.name == "hostnet"]


async def test_the_security_context(node: Machine, pods: Pods) -> None:
    container = {
        "securityContext": {"runAsUser": 1000, "readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    script = (
        "id -u; id -G; touch /root-fs 2>/dev/null || echo read-only; touch /v/x; stat -c %g /v/x"
    )
    await pods.create(
        pod("careful", "sh", "-c", script, container=container, restartPolicy="Never",
            securityContext={"fsGroup": 2000, "runAsGroup": 3000, "supplementalGroups": [4000]},
            volumes=[{"name": "v", "emptyDir": {}}])
    )  # fmt: skip
    await pods.when("careful", "succeeded", lambda p: p.status.phase == "Succeeded")
    lines = node.kubectl("logs", "careful").stdout.splitlines()
    assert (lines[0], set(lines[1].split())) == ("1000", {"3000", "4000", "2000"})
    assert lines[2:] == ["read-only", "2000"]


async def test_root_is_refused_where_it_is_not_wanted(pods: Pods) -> None:
    context = {"securityContext": {"runAsNonRoot": True}}
    await pods.create(pod("noroot", *SERVE, container=context))
    found = await pods.when(
        "noroot", "is refused", lambda p: waiting_reason(p) == "CreateContainerConfigError"
    )
    state = container_status(found).state
    assert state and state.waiting and "run as root" in state.waiting.message


async def test_a_startup_probe_holds_the_others_back(pods: Pods) -> None:
    probe = {
        "exec": {"command": ["test", "-e", "/started"]}, "periodSeconds": 1, "timeoutSeconds": 30,
    }  # fmt: skip
    container = {
        "startupProbe": probe | {"failureThreshold": 60},
        "livenessProbe": probe | {"failureThreshold": 1},
    }
    script = "sleep 2; touch /started; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    ready = await pods.ready(pod("slow", "sh", "-c", script, container=container))
    assert restarts(ready) == 0
    assert container_status(ready).started


async def test_a_pod_that_cannot_start_can_be_deleted(node: Machine, pods: Pods) -> None:
    volumes = [{"name": "v", "configMap": {"name": "nowhere"}}]
    made = await pods.create(pod("stuck", *SERVE, volumes=volumes))
    await pods.when(
        "stuck", "is pending", lambda p: p.status.phase == "Pending" and p.status.host_ip
    )
    await pods.delete("stuck")
    await pods.gone("stuck")
    assert not (node.lab.root / "kubelet/pods" / made.metadata.uid).exists()


async def test_impatience_shortens_the_grace(node: Machine, client: Client, pods: Pods) -> None:
    """`kubectl delete --force` during a long graceful end."""
    script = "trap '' TERM; while :; do sleep 0.1; done"
    made = await pods.ready(pod("patient", "sh", "-c", script, terminationGracePeriodSeconds=300))
    await pods.delete("patient")
    await pods.when("patient", "is going", lambda p: p.metadata.deletion_timestamp)
    await pods.delete("patient", 0)
    await pods.gone("patient")

    async def ended() -> bool:
        return made.metadata.uid not in {p.metadata.uid for p in runtime_pods(node.lab)}

    await until("pod is ended", ended, 60)


async def test_the_kubelet_survives_it_all(node: Machine) -> None:
    """After everything above the process is the one that the last test started, and well."""
    assert node.alive("kubelet")
    status, text = await node.get(node.monitor, "/healthz")
    assert (status, text) == (200, "ok")
    assert "Traceback" not in node.logs["kubelet"].read_text()
    assert "traceback" not in node.logs["kubelet"].read_text()
