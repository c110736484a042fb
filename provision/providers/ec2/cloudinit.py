"""What a new instance is told at its first boot (cloud-init's cloud-config). Pure."""

from __future__ import annotations

import json

from provision.providers.base import MachineSpec
from provision.providers.identity import Identity


def user_data(machine: MachineSpec, identity: Identity) -> str:
    """Its name and its SSH host key, so that the very first connection can be verified.

    JSON is YAML, so nothing needs quoting rules of its own.
    """
    config = {
        "hostname": machine.name,
        "preserve_hostname": False,
        "manage_etc_hosts": True,
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": identity.host_key,
            "ed25519_public": identity.host_key_public,
        },
        "package_update": False,
    }
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"
