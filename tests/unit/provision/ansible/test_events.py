"""The inventory that the roles see, and what becomes of ansible-runner's events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from provision.ansible.inventory import inventory
from provision.ansible.run import Outcome, reason
from provision.bundle import Layer
from provision.cluster import node_state
from provision.phases.images import image_names
from provision.providers.base import MachineSpec, SshTarget
from provision.roles.action_plugins.muster_layers import unpack_command
from provision.roles.action_plugins.muster_packages import missing

M1 = MachineSpec("m1", "master", "10.200.0.11", 2.0, 2048)
TARGET = SshTarget("10.200.0.11", 2222, "vagrant", Path("/key"), "ssh-ed25519 AAAA")


def document(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    layers = [Layer("deps", "d1", Path("/d")), Layer("code", "c1", Path("/c"))]
    payloads = {"m1": Path("/p/m1.tar")}
    return inventory([M1], {"m1": TARGET}, payloads, layers, packages, Path("/known"))


def test_a_host_is_reached_as_its_provider_says() -> None:
    host = document()["all"]["hosts"]["m1"]
    assert (host["ansible_host"], host["ansible_port"]) == ("10.200.0.11", 2222)
    assert (host["ansible_user"], host["role"], host["payload"]) == (
        "vagrant",
        "master",
        "/p/m1.tar",
    )


def test_a_user_other_than_root_becomes_root() -> None:
    assert document()["all"]["hosts"]["m1"]["ansible_become"] is True
    as_root = replace(TARGET, user="root")
    found = inventory([M1], {"m1": as_root}, {"m1": Path("/p")}, [], (), Path("/known"))
    assert found["all"]["hosts"]["m1"]["ansible_become"] is False


def test_only_what_dpkg_does_not_have_installed_is_missing() -> None:
    listed = "crun installed\nconmon config-files\niproute2 installed\n"
    assert missing(["conmon", "crun", "conntrack"], listed) == ["conmon", "conntrack"]
    assert missing(["crun", "iproute2"], listed) == []


def test_only_pinned_host_keys_are_accepted() -> None:
    arguments = document()["all"]["vars"]["ansible_ssh_common_args"]
    assert "UserKnownHostsFile=/known" in arguments
    assert "StrictHostKeyChecking=yes" in arguments


def test_layers_and_packages_reach_the_roles() -> None:
    found = document(("crun",))["all"]["vars"]
    assert found["packages"] == ["crun"]
    assert [(x["name"], x["hash"]) for x in found["layers"]] == [("deps", "d1"), ("code", "c1")]


def event(kind: str, result: dict[str, Any], host: str = "w1") -> dict[str, Any]:
    return {"event": kind, "event_data": {"host": host, "task": "Ship", "res": result}}


def test_events_become_progress_changes_and_failures() -> None:
    outcome, lines = Outcome(), []

    def report(machine: str, message: str) -> None:
        lines.append(f"{machine}: {message}")

    outcome.take(event("runner_on_ok", {"changed": True, "shipped": ["code"]}), report)
    outcome.take(
        event("runner_on_ok", {"changed": True, "files": ["/a"], "restarted": ["u", "v"]}), report
    )
    outcome.take(event("runner_on_ok", {"changed": False}, "w2"), report)
    outcome.take(event("runner_on_failed", {"msg": "disk full"}, "m1"), report)
    outcome.take(event("runner_on_unreachable", {"msg": "no route"}, "m2"), report)
    outcome.take({"event": "playbook_on_stats"}, report)
    assert outcome.changed == {"w1": ["code shipped (code)", "1 files written, 2 units restarted"]}
    assert outcome.failures == {"m1": "Ship: disk full", "m2": "Ship: no route"}
    assert "m1: failed: Ship: disk full" in lines


def test_a_layers_stamp_is_the_last_thing_written() -> None:
    command = unpack_command("code", "abc")
    assert command.index("rm -rf /opt/muster/.new-code /opt/muster/code.stamp") < command.index(
        "tar -xzf"
    )
    assert command.endswith("echo abc > /opt/muster/code.stamp")


def test_a_node_is_ready_only_when_its_condition_says_so() -> None:
    node = {
        "metadata": {"name": "w1"},
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "silent"}]},
    }
    found = node_state(node)
    assert (found.ready, found.why, found.pod_cidr) == (False, "silent", "10.244.1.0/24")
    assert not node_state({"metadata": {"name": "w1"}}).ready


def test_images_are_read_from_either_runtime() -> None:
    ours = '[{"id": "sha256:1", "names": ["a:1", "b:1"]}, {"id": "sha256:2", "names": []}]'
    assert image_names(ours) == {"a:1", "b:1", "sha256:2"}
    assert image_names("docker.io/a:1\nsha256:3\nb:2\n") == {"docker.io/a:1", "b:2"}


def test_a_full_disk_is_said_once() -> None:
    said = "\n".join(f"tar: {n}: Cannot write: No space left on device" for n in range(3000))
    assert reason(said) == "its disk is full (No space left on device)"


def test_of_a_long_output_the_end_is_kept() -> None:
    kept = reason("\n".join(map(str, range(100)))).splitlines()
    assert (kept[0], kept[1], kept[-1], len(kept)) == ("...", "80", "99", 21)
    assert reason("  short\nand plain\n") == "short\nand plain"
