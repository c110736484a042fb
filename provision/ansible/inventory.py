"""The inventory, generated: who the machines are, how to reach them, what each is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provision.bundle.layer import MACHINE_PYTHON, Layer
from provision.providers.base import MachineSpec, SshTarget


def inventory(
    machines: Sequence[MachineSpec],
    targets: Mapping[str, SshTarget],
    payloads: Mapping[str, Path],
    layers: Sequence[Layer],
    packages: Sequence[str],
    known_hosts: Path,
) -> dict[str, Any]:
    """Ansible's YAML inventory as a value."""
    hosts = {m.name: _host(m, targets[m.name], payloads[m.name]) for m in machines}
    common = {
        "ansible_python_interpreter": MACHINE_PYTHON,
        # Only the keys that we gave the machines are accepted; nothing is learnt on first use.
        "ansible_ssh_common_args": (
            f"-o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null "
            "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes "
            "-o ConnectTimeout=10 -o Compression=no"
        ),
        "layers": [
            {"name": layer.name, "hash": layer.hash, "archive": str(layer.archive)}
            for layer in layers
        ],
        "packages": list(packages),
    }
    return {"all": {"hosts": hosts, "vars": common}}


def _host(machine: MachineSpec, target: SshTarget, payload: Path) -> dict[str, Any]:
    return {
        "ansible_host": target.host,
        "ansible_port": target.port,
        "ansible_user": target.user,
        "ansible_ssh_private_key_file": str(target.key_file),
        "ansible_become": target.user != "root",
        "role": machine.role,
        "payload": str(payload),
    }
