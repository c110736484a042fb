"""What the runtime confines a container with, under both OCI runtimes, asked over CRI itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from kube.stubs.cri import api_pb2 as cri
from tests.component.runtime_harness import Lab, container, lab

pytestmark = pytest.mark.root
Profile = cri.SecurityProfile


@pytest.fixture(scope="module", params=["crun", "runc"])
def node(images: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with lab(images, request.param) as made:
        yield made


@pytest.fixture
def sandbox(node: Lab) -> Iterator[str]:
    made = node.run_sandbox(node.pod("confined"))
    yield made
    node.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=made), timeout=60)


def asleep(profile: Profile | None, *, privileged: bool = False) -> cri.ContainerConfig:
    config = container("sleep", "1000")
    security = config.linux.security_context
    security.privileged = privileged
    security.no_new_privs = not privileged
    if profile is not None:
        security.seccomp.CopyFrom(profile)
    return config


def status_of(node: Lab, container_id: str, pid: str) -> dict[str, str]:
    text = node.exec(container_id, "cat", f"/proc/{pid}/status").stdout.decode()
    return {k: v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}


def test_the_default_profile_holds_for_what_is_executed_later_too(node: Lab, sandbox: str) -> None:
    made = node.run(sandbox, asleep(Profile(profile_type=Profile.RuntimeDefault)))
    for pid in ("1", "self"):
        found = status_of(node, made, pid)
        assert (found["Seccomp"], found["NoNewPrivs"]) == ("2", "1")
    assert node.exec(made, "unshare", "-U", "true").exit_code != 0
    assert node.exec(made, "sh", "-c", "chmod 700 /tmp; sh -c 'echo $(date)' | cat").exit_code == 0


@pytest.mark.parametrize(
    ("profile", "privileged"),
    [
        (None, False), (Profile(profile_type=Profile.Unconfined), False),
        (Profile(profile_type=Profile.RuntimeDefault), True),
    ],
)  # fmt: skip
def test_unconfined_is_what_was_asked(
    node: Lab, sandbox: str, profile: Profile | None, privileged: bool
) -> None:
    made = node.run(sandbox, asleep(profile, privileged=privileged))
    assert status_of(node, made, "1")["Seccomp"] == "0"


def test_a_profile_in_dockers_form(node: Lab, sandbox: str) -> None:
    path = node.root / "docker.json"
    rules = [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
        {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO",
         "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    ]  # fmt: skip
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    profile = Profile(profile_type=Profile.Localhost, localhost_ref=str(path))
    made = node.run(sandbox, asleep(profile))
    done = node.exec(made, "mkdir", "/x")
    assert done.exit_code != 0
    assert b"Input/output error" in done.stderr or b"I/O error" in done.stderr
    assert node.exec(made, "chmod", "700", "/tmp").exit_code == 0


@pytest.mark.parametrize("name", ["kernel.core_pattern", "vm.swappiness", "a file"])
def test_no_sysctl_of_the_machine_is_written(node: Lab, name: str) -> None:
    """Each value is what is there already, and the file the test's own: a runtime that does write
    must not hurt the machine that the test runs on."""
    own = node.root / "not-a-sysctl"
    own.write_text("untouched")
    path = str(own) if name == "a file" else name
    value = "touched" if name == "a file" else _value(name)
    config = node.pod("hostile")
    config.linux.sysctls[path] = value
    with pytest.raises(grpc.RpcError) as caught:
        node.run_sandbox(config)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "is not in a separate kernel namespace" in caught.value.details()
    assert own.read_text() == "untouched"


def _value(sysctl: str) -> str:
    return Path("/proc/sys", sysctl.replace(".", "/")).read_text().strip()
