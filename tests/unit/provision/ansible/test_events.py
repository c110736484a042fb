"""The inventory that the roles see, and what becomes of ansible-runner's events."""

from __future__ import annotations

import io
import signal
import subprocess
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from provision.ansible.inventory import inventory
from provision.ansible.run import RUN_VARIABLE, Outcome, end_leftover, reason, run_directory
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


def layer(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for number in range(50):
            info = tarfile.TarInfo(f"pack/{number}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def unpack(library: Path, digest: str) -> subprocess.Popen[bytes]:
    command = unpack_command("code", digest, str(library))
    return subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_a_layer_that_is_cut_off_changes_nothing(tmp_path: Path) -> None:
    old, new = layer("old"), layer("new" * 1000)
    unpack(tmp_path, "1").communicate(old, timeout=60)
    cut = unpack(tmp_path, "2")
    cut.communicate(new[:-20], timeout=60)
    assert cut.returncode != 0
    assert (tmp_path / "code.stamp").read_text() == "1\n"
    assert {p.read_text() for p in (tmp_path / "lib/pack").iterdir()} == {"old"}
    assert not list(tmp_path.glob(".new-*"))


def test_two_that_unpack_at_once_leave_one_whole_layer(tmp_path: Path) -> None:
    """The child of a killed `up` beside the next `up`."""
    first = unpack(tmp_path, "1")
    assert first.stdin is not None
    data = layer("one")
    first.stdin.write(data[:100])
    first.stdin.flush()
    second = unpack(tmp_path, "2")
    assert second.stdin is not None
    second.stdin.write(layer("two"))
    second.stdin.close()
    first.communicate(data[100:], timeout=60)
    second.wait(timeout=60)
    stamp = (tmp_path / "code.stamp").read_text().strip()
    found = {p.read_text() for p in (tmp_path / "lib/pack").iterdir()}
    assert found == {{"1": "one", "2": "two"}[stamp]}
    assert (first.returncode, second.returncode) == (0, 0)


def test_what_a_killed_run_left_ends_with_the_next(tmp_path: Path) -> None:
    note = tmp_path / "note"
    left = Path(tempfile.mkdtemp(prefix="muster-"))
    child = subprocess.Popen(["sleep", "3600"], env={RUN_VARIABLE: str(left)})
    note.write_text(str(left))
    with run_directory(note) as directory:
        assert child.wait(timeout=60) == -signal.SIGKILL
        assert not left.exists()
        assert note.read_text() == str(directory)
    assert not note.exists() and not directory.exists()


def test_a_note_that_means_something_else_costs_no_files(tmp_path: Path) -> None:
    note, other = tmp_path / "note", tmp_path / "other"
    other.mkdir()
    note.write_text(str(other))
    end_leftover(note)
    assert other.exists() and not note.exists()


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
