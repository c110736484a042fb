"""The files that make a machine's /etc: complete, private, and nothing of the host's."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from provision.providers.base import LabNetwork, LabSpec, MachineSpec
from provision.providers.identity import Identity, ensure_identity, new_host_key, read_identity
from provision.providers.local import etc

MACHINE = MachineSpec("w1", "worker", "10.213.9.21", 1.5, 512, 2048)
LAB = LabSpec(
    name="t",
    network=LabNetwork("10.213.9.0/24", "10.213.9.1", "10.213.9.254"),
    machines=(MachineSpec("m1", "master", "10.213.9.11", 2, 1024), MACHINE),
    state_dir=Path("/nowhere/t"),
    ssh_public_key="ssh-ed25519 AAAA me\n",
    ssh_private_key=Path("/nowhere/key"),
)
FACTS = etc.HostFacts(
    passwd="root:*:0:0:root:/root:/bin/bash\nnobody:*:65534:65534:nobody:/:/usr/sbin/nologin\n",
    group="root:*:0:\nnogroup:*:65534:\n",
    vendor_units=frozenset({"dbus.service", "systemd-journald.service", "getty.target"}),
    generators=frozenset({"systemd-fstab-generator"}),
    tmpfiles=frozenset({"var.conf", "postgresql-common.conf"}),
    alternatives={"iptables": "/usr/sbin/iptables-nft"},
)
IDENTITY = Identity("0" * 32, "PRIVATE", "ssh-ed25519 HOST")


@pytest.fixture
def tree() -> etc.Tree:
    return etc.first_boot(LAB, MACHINE, IDENTITY, FACTS)


def content(tree: etc.Tree, path: str) -> etc.File:
    (file,) = [file for file in tree.files if file.path == path]
    return file


def test_only_what_a_machine_wants_is_left_to_start(tree: etc.Tree) -> None:
    system = "etc/systemd/system"
    assert tree.links[f"{system}/dbus.service"] == "/dev/null"
    assert tree.links[f"{system}/getty.target"] == "/dev/null"
    assert f"{system}/systemd-journald.service" not in tree.links
    assert tree.links["etc/systemd/system-generators/systemd-fstab-generator"] == "/dev/null"
    assert tree.links["etc/tmpfiles.d/postgresql-common.conf"] == "/dev/null"
    assert "etc/tmpfiles.d/var.conf" not in tree.links
    assert tree.links[f"{system}/default.target"].endswith("/multi-user.target")


def test_the_machine_is_entered_by_key_only(tree: etc.Tree) -> None:
    config = content(tree, "etc/ssh/sshd_config").content.splitlines()
    assert "PermitRootLogin prohibit-password" in config
    assert "PasswordAuthentication no" in config
    assert "KbdInteractiveAuthentication no" in config
    keys = content(tree, "root/.ssh/authorized_keys")
    assert keys.content == "ssh-ed25519 AAAA me\n"
    assert keys.mode == 0o600
    assert tree.directories["root/.ssh"] == 0o700
    assert tree.directories["root"] == 0o700
    assert content(tree, "etc/ssh/ssh_host_ed25519_key").mode == 0o600


def test_no_account_has_a_password(tree: etc.Tree) -> None:
    users = content(tree, "etc/passwd").content.splitlines()
    shadow = content(tree, "etc/shadow")
    assert shadow.mode == 0o640
    assert [line.split(":")[0] for line in shadow.content.splitlines()] == [
        line.split(":")[0] for line in users
    ]
    assert {line.split(":")[1] for line in shadow.content.splitlines()} == {"*"}
    assert {line.split(":")[1] for line in users} == {"x"}
    assert any(line.startswith("sshd:") for line in users)


def test_every_account_has_seven_fields_and_every_group_four(tree: etc.Tree) -> None:
    for line in content(tree, "etc/passwd").content.splitlines():
        assert line.count(":") == 6
    for line in content(tree, "etc/group").content.splitlines():
        assert line.count(":") == 3


def test_machines_know_each_other_by_name(tree: etc.Tree) -> None:
    hosts = content(tree, "etc/hosts").content.splitlines()
    assert "10.213.9.11 m1" in hosts
    assert "10.213.9.21 w1" in hosts
    assert hosts[0] == "127.0.0.1 localhost"


def test_the_kubelet_learns_the_size_of_the_machine() -> None:
    (file,) = etc.every_boot(MACHINE)
    assert file.path == "etc/muster/machine.json"
    assert json.loads(file.content) == {
        "name": "w1",
        "role": "worker",
        "address": "10.213.9.21",
        "cpus": 1.5,
        "memory_mib": 512,
        "disk_mib": 2048,
        "pids": None,
    }


def test_alternatives_are_kept(tree: etc.Tree) -> None:
    assert tree.links["etc/alternatives/iptables"] == "/usr/sbin/iptables-nft"


def test_nothing_is_named_twice_or_absolutely(tree: etc.Tree) -> None:
    paths = [file.path for file in tree.files] + list(tree.links)
    assert len(paths) == len(set(paths))
    assert not [path for path in [*paths, *tree.directories] if path.startswith("/")]


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    directory = tmp_path / "identity"
    assert read_identity(directory) is None
    identity = ensure_identity(directory)
    assert ensure_identity(directory) == identity == read_identity(directory)
    assert len(identity.machine_id) == 32
    assert stat.S_IMODE((directory / "ssh_host_ed25519_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_half_made_identity_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "identity"
    ensure_identity(directory)
    (directory / "machine-id").unlink()
    assert read_identity(directory) is None
    assert ensure_identity(directory) == read_identity(directory)


def test_host_keys_are_openssh_keys_that_belong_together() -> None:
    private, public = new_host_key()
    key = load_ssh_private_key(private.encode(), None)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    assert key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == public
