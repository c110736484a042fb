"""CRI container configs become the right OCI specs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.containers.lifecycle import end_reason, stop_signal
from worker.runtime.errors import InvalidArgument
from worker.runtime.oci import capabilities, users
from worker.runtime.oci import spec as oci_spec
from worker.runtime.oci.resources import NodeFacts, device_rules, linux_resources, merged
from worker.runtime.oci.spec import Device, ImageConfig, PodFiles, SpecInputs

GOLDEN = Path(__file__).parents[4] / "transcripts" / "oci_specs.json"
ALL = frozenset(capabilities.NAMES)
FACTS = NodeFacts(capabilities=ALL - {"CAP_SYS_RESOURCE"}, oom_score_floor=0)
IMAGE = ImageConfig(
    entrypoint=("/init", "--"), cmd=("serve",), env=("PATH=/app", "MODE=image"), working_dir="/app"
)
POD_FILES = PodFiles("/sb/resolv.conf", "/sb/hostname", "/state/sb/shm")
NAMESPACES = {
    "mount": "",
    "network": "/run/netns/sb",
    "uts": "/state/sb/uts",
    "ipc": "/state/sb/ipc",
    "pid": "",
}


def config() -> cri.ContainerConfig:
    return cri.ContainerConfig(metadata=cri.ContainerMetadata(name="main"))


def inputs(c: cri.ContainerConfig, **changes: Any) -> SpecInputs:
    made = SpecInputs(
        container_id="c1",
        config=c,
        image=IMAGE,
        identity=users.Identity(0, 0, (0,), "/root"),
        rootfs="/bundle/rootfs",
        cgroups_path="/kubepods/burstable/podx/c1",
        namespaces=NAMESPACES,
        pod_files=POD_FILES,
        hostname="web-1",
        facts=FACTS,
    )
    return replace(made, **changes)


def plain() -> SpecInputs:
    c = config()
    c.envs.add(key="MODE", value="pod")
    c.linux.resources.cpu_shares = 102
    c.linux.resources.cpu_quota = 20000
    c.linux.resources.cpu_period = 100000
    c.linux.resources.memory_limit_in_bytes = 64 << 20
    c.linux.resources.memory_swap_limit_in_bytes = 64 << 20
    c.linux.resources.oom_score_adj = -997
    c.mounts.add(container_path="/etc/hosts", host_path="/kubelet/hosts")
    c.mounts.add(container_path="/data/", host_path="/vol", readonly=True)
    c.mounts.add(
        container_path="/data/shared", host_path="/vol2", propagation=cri.PROPAGATION_BIDIRECTIONAL
    )
    return inputs(c)


def privileged() -> SpecInputs:
    c = config()
    c.linux.security_context.privileged = True
    namespaces = {"mount": "", "ipc": "/state/sb/ipc", "cgroup": ""}
    return inputs(c, namespaces=namespaces, devices=[Device("/dev/kvm", "c", 10, 232, 0o660)])


def test_a_privileged_container_is_allowed_what_its_machine_is() -> None:
    """A cgroup may not allow what its parent denies: runc and crun would be refused."""
    assert device_rules("a *:* rwm\n") == device_rules("") == ()
    listed = device_rules("c *:* m\nc 1:3 rwm\nc 136:* rwm\n")
    c = config()
    c.linux.security_context.privileged = True
    spec = oci_spec.container_spec(inputs(c, facts=replace(FACTS, devices=listed)))
    assert spec["linux"]["resources"]["devices"] == [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "c", "access": "rwm", "major": 1, "minor": 3},
        {"allow": True, "type": "c", "access": "rwm", "major": 136},
    ]


def restricted() -> SpecInputs:
    c = config()
    security = c.linux.security_context
    security.capabilities.drop_capabilities.append("ALL")
    security.capabilities.add_capabilities.append("NET_BIND_SERVICE")
    security.no_new_privs = security.readonly_rootfs = True
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW"}
    return inputs(c, identity=users.Identity(1000, 1000, (1000, 2000)), seccomp=seccomp)


def test_specs_are_as_recorded() -> None:
    """The whole documents; REWRITE=1 records them anew, for review as a diff."""
    made = {
        name: oci_spec.container_spec(case())
        for name, case in (("plain", plain), ("privileged", privileged), ("restricted", restricted))
    }
    text = json.dumps(made, indent=2) + "\n"
    if os.environ.get("REWRITE"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ([], [], ["/init", "--", "serve"]),
        ([], ["x"], ["/init", "--", "x"]),
        (["sh"], [], ["sh"]),
        (["sh"], ["-c"], ["sh", "-c"]),
    ],
)
def test_command_and_args_replace_entrypoint_and_cmd(
    command: list[str], args: list[str], expected: list[str]
) -> None:
    c = cri.ContainerConfig(command=command, args=args)
    assert oci_spec.process_args(c, IMAGE) == expected


def test_nothing_to_run_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="neither the container nor its image"):
        oci_spec.process_args(config(), ImageConfig())


def test_the_pods_environment_wins_over_the_images() -> None:
    spec = oci_spec.process(plain())
    assert "MODE=pod" in spec["env"]
    assert "MODE=image" not in spec["env"]
    assert "HOSTNAME=web-1" in spec["env"]
    assert "HOME=/root" in spec["env"]


def test_the_oom_score_is_never_below_what_the_kernel_allows_us() -> None:
    assert oci_spec.process(plain())["oomScoreAdj"] == 0
    able = replace(plain(), facts=replace(FACTS, oom_score_floor=-1000))
    assert oci_spec.process(able)["oomScoreAdj"] == -997


def test_a_volume_takes_the_place_of_a_standard_mount() -> None:
    c = config()
    c.mounts.add(container_path="/dev/shm", host_path="/vol/shm")
    found = [m for m in oci_spec.mounts(inputs(c)) if m["destination"] == "/dev/shm"]
    assert [m["source"] for m in found] == ["/vol/shm"]


def test_exec_runs_as_the_container_does_with_another_command() -> None:
    base = oci_spec.process(plain())
    made = oci_spec.exec_process(base, ["id"], tty=True)
    assert made["args"] == ["id"]
    assert made["terminal"]
    assert "TERM=xterm" in made["env"]
    assert made["user"] == base["user"]


# ---- Capabilities


def _sets(add: list[str], drop: list[str], **options: Any) -> dict[str, list[str]]:
    wanted = cri.Capability(add_capabilities=add, drop_capabilities=drop)
    return capabilities.container_sets(
        wanted, **({"privileged": False, "available": ALL, "root": True} | options)
    )


def test_added_and_dropped_capabilities() -> None:
    sets = _sets(["NET_ADMIN"], ["cap_kill"])
    assert set(sets["effective"]) == {*capabilities.DEFAULT, "CAP_NET_ADMIN"} - {"CAP_KILL"}
    assert _sets(["CHOWN"], ["ALL"])["bounding"] == ["CAP_CHOWN"]
    assert _sets(["ALL"], ["SYS_ADMIN"])["bounding"] == [
        n for n in capabilities.NAMES if n != "CAP_SYS_ADMIN"
    ]


def test_a_privileged_container_gets_only_what_the_node_has() -> None:
    sets = _sets([], [], privileged=True, available=ALL - {"CAP_SYS_RESOURCE"})
    assert set(sets["effective"]) == ALL - {"CAP_SYS_RESOURCE"}


def test_a_process_that_is_not_root_holds_none() -> None:
    sets = _sets([], [], root=False)
    assert sets["effective"] == sets["permitted"] == []
    assert sets["bounding"]


# ---- Users

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:100:101:app:/home/app:/bin/sh\n"
ACCOUNTS = users.Accounts(PASSWD, "root:x:0:\nwheel:x:10:root,app\nextra:x:20:app\n")


def _who(image_user: str = "", **fields: Any) -> users.Identity:
    return users.identity(cri.LinuxContainerSecurityContext(**fields), image_user, ACCOUNTS)


def test_users_from_pod_image_and_passwd() -> None:
    assert _who() == users.Identity(0, 0, (0, 10), "/root")
    assert _who("app") == users.Identity(100, 101, (10, 20, 101), "/home/app")
    assert _who("app:wheel").gid == 10
    assert _who("7:8") == users.Identity(7, 8, (8,), "/")
    pod = _who("app", run_as_user=cri.Int64Value(value=5), run_as_group=cri.Int64Value(value=6))
    assert pod == users.Identity(5, 6, (6,), "/")
    assert _who(run_as_username="app").uid == 100


def test_strict_groups_leave_the_images_groups_out() -> None:
    who = _who("app", supplemental_groups=[77], supplemental_groups_policy=cri.Strict)
    assert who.additional_gids == (77, 101)


@pytest.mark.parametrize("user", ["nobody-here", "app:nogroup", "-1"])
def test_unknown_users_are_errors(user: str) -> None:
    with pytest.raises(InvalidArgument, match="the image has no"):
        _who(user)


def test_a_group_without_a_user_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="run_as_group"):
        _who(run_as_group=cri.Int64Value(value=5))


# ---- Resources and ends


def test_resources_leave_out_what_is_not_given_or_not_there() -> None:
    res = cri.LinuxContainerResources(cpu_shares=2, unified={"memory.high": "1"})
    res.hugepage_limits.add(page_size="2MB", limit=0)
    assert linux_resources(res, FACTS) == {"cpu": {"shares": 2}}
    v2 = replace(FACTS, cgroup_v2=True, controllers=frozenset({"hugetlb"}))
    made = linux_resources(res, v2)
    assert made["unified"] == {"memory.high": "1"}
    assert made["hugepageLimits"] == [{"pageSize": "2MB", "limit": 0}]


def test_an_update_changes_only_what_it_names() -> None:
    old = cri.LinuxContainerResources(cpu_shares=5, memory_limit_in_bytes=10)
    new = merged(old, cri.LinuxContainerResources(memory_limit_in_bytes=20))
    assert (new.cpu_shares, new.memory_limit_in_bytes) == (5, 20)


def test_how_an_end_is_told() -> None:
    assert end_reason(0, oom=True) == "Completed"
    assert end_reason(137, oom=True) == "OOMKilled"
    assert end_reason(1, oom=False) == "Error"
    assert end_reason(None, oom=False) == "Unknown"


def test_stop_signals() -> None:
    assert stop_signal(cri.RUNTIME_DEFAULT, "") == "SIGTERM"
    assert stop_signal(cri.RUNTIME_DEFAULT, "quit") == "SIGQUIT"
    assert stop_signal(cri.RUNTIME_DEFAULT, "9") == "SIGKILL"
    assert stop_signal(cri.SIGUSR1, "SIGQUIT") == "SIGUSR1"
