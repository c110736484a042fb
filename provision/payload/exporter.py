"""Debian's node exporter on a machine, by the certificate and flags of this lab.

The unit has the package's own name: its file replaces the package's, which would listen everywhere
and without TLS.
"""

from __future__ import annotations

import json
from pathlib import Path

from provision.identities import LabRecord
from provision.payload.hardening import NODE_EXPORTER
from provision.payload.masters import COMPONENT_FILES
from provision.payload.model import CONFIG, File, Unit, arguments
from provision.providers import declared
from provision.providers.base import MachineSpec

PORT = 9100
PACKAGE = "prometheus-node-exporter"
PROGRAM = Path("/usr/bin") / PACKAGE
WEB_CONFIG = f"{CONFIG}/node-exporter.json"
# kube-prometheus' choice: what pods come and go with is left out.
_MOUNTS = "^/(dev|proc|run|sys|var/lib/kubelet/pods/.+|var/lib/muster/runtime/.+)($|/)"
_DEVICES = "^(veth.*|cni.*|[a-f0-9]{15})$"


def has_node_exporter(record: LabRecord) -> bool:
    """Whether the lab's machines run it: local ones where this host, whose /usr they share, has
    the package."""
    if not record.lab.spec.monitoring:
        return False
    return not declared(record.lab.spec.provider).on_this_host or PROGRAM.exists()


def exporter_unit(machine: MachineSpec) -> Unit:
    flags = arguments(
        {
            "web.listen-address": f"{machine.address}:{PORT}",
            "web.config.file": WEB_CONFIG,
            "collector.filesystem.mount-points-exclude": _MOUNTS,
            "collector.netclass.ignored-devices": _DEVICES,
            "collector.netdev.device-exclude": _DEVICES,
            # Of Debian's build; each unit has five series.
            "collector.systemd.unit-include": "(muster|prometheus)-.+[.]service",
            **{f"no-collector.{name}": None for name in ("btrfs", "hwmon", "wifi")},
        }
    )
    return Unit(
        name=PACKAGE,
        description="Prometheus node exporter",
        command=(str(PROGRAM), *flags),
        inputs=(WEB_CONFIG, *COMPONENT_FILES),
        service=NODE_EXPORTER,
        python=False,
        kind="simple",
    )


def exporter_config() -> File:
    """It reads YAML, of which JSON is a part."""
    certificate, key, authority = COMPONENT_FILES[0], COMPONENT_FILES[1], COMPONENT_FILES[2]
    tls = {
        "cert_file": certificate,
        "key_file": key,
        "client_ca_file": authority,
        "client_auth_type": "RequireAndVerifyClientCert",
        "min_version": "TLS12",
    }
    return File(WEB_CONFIG, json.dumps({"tls_server_config": tls}, indent=2).encode() + b"\n")
