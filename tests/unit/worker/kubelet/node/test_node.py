"""The Node object and who may ask the kubelet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from kube.api import core
from worker.kubelet.main import Config
from worker.kubelet.node.machine import MachineInfoError, read_machine
from worker.kubelet.node.node import (
    NodeFacts,
    RuntimeSeen,
    differs,
    new_node,
    node_status,
    parse_labels,
    parse_taint,
)

FACTS = NodeFacts(
    name="w1", ip="10.200.0.21", port=10250, architecture="amd64", cpu_milli=1500,
    memory_bytes=2**31, disk_bytes=2**34, max_pods=110,
    system=core.NodeSystemInfo(operating_system="linux"), runtime_version="muster://1",
)  # fmt: skip


def ready(status: core.NodeStatus) -> core.NodeCondition:
    return next(c for c in status.conditions if c.type == "Ready")


def test_registration() -> None:
    taint = parse_taint("node-role.kubernetes.io/control-plane:NoSchedule")
    node = new_node(FACTS, {"tier": "x"}, (taint,), "unix:///r.sock")
    assert node.metadata.labels["kubernetes.io/hostname"] == "w1"
    assert node.metadata.labels["tier"] == "x"
    assert node.spec.taints[0].key == "node-role.kubernetes.io/control-plane"
    assert node.metadata.annotations["kubeadm.alpha.kubernetes.io/cri-socket"] == "unix:///r.sock"


def test_a_well_node() -> None:
    status = node_status(core.Node(), FACTS, 1000.0)
    assert status.capacity == {
        "cpu": "1500m", "memory": "2097152Ki", "ephemeral-storage": "16777216Ki", "pods": "110",
    }  # fmt: skip
    assert [(c.type, c.status, c.reason) for c in status.conditions] == [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]


def test_a_runtime_is_down_after_half_a_minute_of_silence_or_before_its_first_answer() -> None:
    seen = RuntimeSeen()
    assert seen.is_down(100.0)
    seen.answered(100.0)
    assert not seen.is_down(101.0)
    assert not seen.is_down(130.0)
    assert seen.is_down(130.1)


def test_problems_make_it_not_ready() -> None:
    facts = replace(FACTS, problems=("a is down", "b too"))
    condition = ready(node_status(core.Node(), facts, 1000.0))
    assert (condition.status, condition.reason) == ("False", "KubeletNotReady")
    assert condition.message == "[a is down, b too]"


def test_pressure_has_its_own_reasons() -> None:
    facts = replace(FACTS, disk_pressure=True, pid_pressure=True)
    found = {c.type: c.reason for c in node_status(core.Node(), facts, 0.0).conditions}
    assert found["DiskPressure"] == "KubeletHasDiskPressure"
    assert found["PIDPressure"] == "KubeletHasInsufficientPID"


def test_a_heartbeat_alone_is_no_change_and_a_transition_is_stamped() -> None:
    first = node_status(core.Node(), FACTS, 1000.0)
    node = msgspec.structs.replace(core.Node(), status=first)
    second = node_status(node, FACTS, 2000.0)
    assert not differs(first, second)
    assert ready(second).last_transition_time == ready(first).last_transition_time
    broken = node_status(node, replace(FACTS, problems=("x",)), 2000.0)
    assert differs(first, broken)
    assert ready(broken).last_transition_time != ready(first).last_transition_time


def test_conditions_of_others_stay() -> None:
    other = core.NodeCondition(type="NetworkUnavailable", status="False")
    node = core.Node(status=core.NodeStatus(conditions=(other,)))
    assert other in node_status(node, FACTS, 0.0).conditions


@pytest.mark.parametrize("text", ["", "key", "key:Sometimes", ":NoSchedule"])
def test_wrong_taints_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid taint"):
        parse_taint(text)


def test_labels_and_taints_parse() -> None:
    assert parse_labels("a=b,c=") == {"a": "b", "c": ""}
    assert parse_taint("k=v:NoExecute") == core.Taint(key="k", value="v", effect="NoExecute")


def test_the_machine_file(tmp_path: Path) -> None:
    info = tmp_path / "machine.json"
    info.write_text(json.dumps({"cpus": 1.5, "memory_mib": 1024}))
    machine = read_machine(info)
    assert (machine.cpu_milli, machine.memory_bytes) == (1500, 2**30)
    info.write_text('{"cpus": 1}')
    with pytest.raises(MachineInfoError, match="memory_mib"):
        read_machine(info)


def test_without_a_machine_file_the_hosts_size_counts(tmp_path: Path) -> None:
    machine = read_machine(tmp_path / "none")
    assert machine.cpu_milli >= 1000
    assert machine.memory_bytes > 2**20


def test_flags() -> None:
    config = Config.from_argv(
        ["--api-servers", "a:1,b:2", "--hostname-override", "W1", "--node-ip", "10.0.0.1",
         "--register-with-taints", "k=v:NoSchedule", "--node-lease-duration-seconds", "4"]
    )  # fmt: skip
    assert config.api_servers == ("a:1", "b:2")
    assert config.name == "w1"
    assert config.taints == (core.Taint(key="k", value="v", effect="NoSchedule"),)


def test_a_wrong_taint_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Config.from_argv(
            ["--api-servers", "a:1", "--hostname-override", "w", "--node-ip", "1.1.1.1",
             "--register-with-taints", "nonsense"]
        )  # fmt: skip
    assert "--register-with-taints" in capsys.readouterr().err
