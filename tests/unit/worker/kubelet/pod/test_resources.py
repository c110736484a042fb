"""Quality of service, cgroups, and the CRI messages that carry limits and security."""

from __future__ import annotations

from pathlib import Path

import pytest

from kube.api import core
from kube.api.meta import ObjectMeta
from kube.machinery.qos import qos_class
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.cri.configs import NodeShape, container_config, sandbox_config
from worker.kubelet.cri.images import pull_policy
from worker.kubelet.node.cgroups import Cgroups
from worker.kubelet.pod import names
from worker.kubelet.pod.dns import Resolver
from worker.kubelet.pod.env import ConfigError
from worker.kubelet.pod.qos import (
    CgroupLimits,
    cgroup_parent,
    container_limits,
    cpu_weight,
    oom_score_adj,
    pod_limits,
)
from worker.kubelet.pod.security import verify_non_root

GIB = 2**30
NODE = NodeShape(4 * GIB, "/", Path("/logs"))


def container(
    requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **fields: object
) -> core.Container:
    resources = core.ResourceRequirements(requests=dict(requests or {}), limits=dict(limits or {}))
    return core.Container(name="c", image="i:1", resources=resources, **fields)


FULL = {"cpu": "500m", "memory": "64Mi"}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([container()], "BestEffort"),
        ([container(limits=FULL)], "Guaranteed"),
        ([container(FULL, FULL)], "Guaranteed"),
        ([container({"cpu": "250m", "memory": "64Mi"}, FULL)], "Burstable"),
        ([container(limits=FULL), container()], "Burstable"),
        ([container(limits={"memory": "64Mi"})], "Burstable"),
        ([container(requests={"cpu": "1"})], "Burstable"),
    ],
)
def test_the_class(containers: list[core.Container], expected: str) -> None:
    assert qos_class(core.PodSpec(containers=tuple(containers))) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (container(), CgroupLimits(2)),
        (container({"cpu": "250m"}), CgroupLimits(256)),
        (container(limits=FULL), CgroupLimits(512, 50_000, 64 * 2**20)),
        (container(limits={"cpu": "1m"}), CgroupLimits(2, 1_000)),
    ],
)
def test_container_limits(spec: core.Container, expected: CgroupLimits) -> None:
    assert container_limits(spec) == expected


def test_a_pod_has_a_limit_only_if_all_its_containers_have() -> None:
    both = core.PodSpec(containers=(container(limits=FULL), container(limits=FULL)))
    assert pod_limits(both) == CgroupLimits(1024, 100_000, 128 * 2**20)
    one = core.PodSpec(containers=(container(limits=FULL), container({"cpu": "100m"})))
    assert pod_limits(one) == CgroupLimits(614)


def test_an_init_container_may_need_more_than_the_others_together() -> None:
    spec = core.PodSpec(
        containers=(container(limits=FULL),),
        init_containers=(container(limits={"cpu": "2", "memory": "1Gi"}),),
    )
    assert pod_limits(spec) == CgroupLimits(2048, 200_000, GIB)


@pytest.mark.parametrize(
    ("spec", "score"),
    [
        (container(), 1000),
        (container(limits=FULL), -997),
        (container({"memory": "1Gi"}), 750),
        (container({"memory": "1Mi"}), 999),
        (container({"memory": "4Gi"}), 3),
    ],
)
def test_oom_scores(spec: core.Container, score: int) -> None:
    assert oom_score_adj(core.PodSpec(containers=(spec,)), spec, 4 * GIB) == score


def test_cgroup_parents() -> None:
    assert cgroup_parent("/", "u", "Guaranteed") == "/kubepods/podu"
    assert cgroup_parent("/", "u", "Burstable") == "/kubepods/burstable/podu"
    assert cgroup_parent("/t/x", "u", "BestEffort") == "/t/x/kubepods/besteffort/podu"


def test_weights_span_the_range() -> None:
    assert (cpu_weight(2), cpu_weight(1024), cpu_weight(262_144)) == (1, 39, 10_000)


def hierarchy(root: Path, *controllers: str) -> Path:
    for name in controllers:
        (root / name).mkdir(parents=True)
    return root


def test_cgroup_v1_limits_and_removal(tmp_path: Path) -> None:
    """On plain directories: the kernel's files are just files here, and stay behind."""
    groups = Cgroups(hierarchy(tmp_path, "cpu", "memory", "devices", "unified"))
    groups.create("/kubepods/podu", CgroupLimits(512, 50_000, GIB))
    assert (tmp_path / "cpu/kubepods/podu/cpu.cfs_quota_us").read_text() == "50000"
    assert (tmp_path / "memory/kubepods/podu/memory.limit_in_bytes").read_text() == str(GIB)
    assert list(groups.pods("/")) == [("u", "/kubepods/podu")]
    assert not (tmp_path / "devices/kubepods").exists()


def test_cgroup_v2_hands_controllers_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    Cgroups(tmp_path).create("/kubepods/podu", CgroupLimits(1024, None, GIB))
    pod = tmp_path / "kubepods/podu"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert (pod / "cpu.weight").read_text() == "39"
    assert (pod / "memory.max").read_text() == str(GIB)
    assert not (pod / "cpu.max").exists()


def pod(spec: core.PodSpec) -> core.Pod:
    return core.Pod(
        metadata=ObjectMeta(name="p", namespace="n", uid="u", labels={"app": "x"}), spec=spec
    )


def test_the_sandbox_config() -> None:
    ports = (core.ContainerPort(container_port=80, host_port=8080, protocol="TCP"),)
    spec = core.PodSpec(
        containers=(core.Container(name="c", ports=ports),), share_process_namespace=True
    )
    config = sandbox_config(pod(spec), 2, Resolver(("10.96.0.10",)), "/kubepods/podu", NODE)
    assert config.metadata.attempt == 2
    assert config.hostname == "p"
    assert config.log_directory == "/logs/n_p_u"
    assert dict(config.labels) == {
        "app": "x", names.POD_NAME: "p", names.POD_NAMESPACE: "n", names.POD_UID: "u",
    }  # fmt: skip
    assert [(m.container_port, m.host_port) for m in config.port_mappings] == [(80, 8080)]
    assert config.linux.cgroup_parent == "/kubepods/podu"
    assert config.linux.security_context.namespace_options.pid == cri.POD


def test_the_container_config() -> None:
    security = core.SecurityContext(
        run_as_user=1000, read_only_root_filesystem=True, allow_privilege_escalation=False,
        capabilities=core.Capabilities(add=("NET_ADMIN",), drop=("ALL",)),
    )  # fmt: skip
    spec = container(
        limits=FULL, command=("sh", "-c", "echo $(A)"), security_context=security, tty=True
    )
    subject = pod(core.PodSpec(containers=(spec,)))
    config = container_config(subject, spec, 3, "sha256:x", {"A": "1"}, [], NODE)
    assert list(config.command) == ["sh", "-c", "echo 1"]
    assert config.log_path == "c/3.log"
    assert config.annotations[names.CONTAINER_HASH] == names.container_hash(spec)
    assert config.linux.resources.memory_limit_in_bytes == 64 * 2**20
    assert config.linux.resources.oom_score_adj == -997
    context = config.linux.security_context
    assert (context.run_as_user.value, context.readonly_rootfs, context.no_new_privs) == (
        1000,
        True,
        True,
    )
    assert list(context.capabilities.drop_capabilities) == ["ALL"]
    assert "/proc/kcore" in context.masked_paths


def test_a_privileged_container_sees_everything() -> None:
    spec = container(security_context=core.SecurityContext(privileged=True))
    config = container_config(pod(core.PodSpec(containers=(spec,))), spec, 0, "i", {}, [], NODE)
    assert config.linux.security_context.privileged
    assert not config.linux.security_context.masked_paths


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (cri.Image(), "image will run as root"),
        (cri.Image(uid=cri.Int64Value(value=0)), "image will run as root"),
        (cri.Image(username="app"), "non-numeric user"),
    ],
)
def test_run_as_non_root_refuses(image: cri.Image, message: str) -> None:
    spec = container(security_context=core.SecurityContext(run_as_non_root=True))
    with pytest.raises(ConfigError, match=message):
        verify_non_root(pod(core.PodSpec(containers=(spec,))), spec, image)


def test_run_as_non_root_accepts_a_numeric_user() -> None:
    spec = container(security_context=core.SecurityContext(run_as_non_root=True))
    verify_non_root(
        pod(core.PodSpec(containers=(spec,))), spec, cri.Image(uid=cri.Int64Value(value=7))
    )


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("host:5000/app", "Always"),
        ("host:5000/app:v1", "IfNotPresent"),
        ("app@sha256:" + "a" * 64, "IfNotPresent"),
    ],
)
def test_pull_policies(image: str, policy: str) -> None:
    assert pull_policy(core.Container(image=image)) == policy
