"""Put a machine's payload together. Lab and certificates in, files and units out."""

from __future__ import annotations

import json
from pathlib import Path

from provision.identities import LabRecord
from provision.payload.agents import CONTAINERD_CONFIG, MACHINE_INFO, agent_units
from provision.payload.exporter import exporter_config, exporter_unit
from provision.payload.identity import identity_files
from provision.payload.keepalived import check_unit, keepalived_files, keepalived_unit
from provision.payload.masters import master_units
from provision.payload.model import File, Payload, Unit
from provision.payload.owners import sysusers
from provision.payload.units import render
from provision.pki.store import Pki
from provision.providers.base import MachineSpec


def build_payload(
    record: LabRecord, machine: MachineSpec, pki: Pki, node_exporter: bool = True
) -> Payload:
    units = _units(record, machine)
    files = [*identity_files(record, machine, pki), *_configuration(record, machine)]
    if node_exporter:
        units.append(exporter_unit(machine))
        files.append(exporter_config())
    files += [
        *(File(unit.path, render(unit).encode()) for unit in units),
    ]
    return Payload(machine.name, machine.address, tuple(files), tuple(units))


def _units(record: LabRecord, machine: MachineSpec) -> list[Unit]:
    if machine.role == "worker":
        return agent_units(record, machine)
    floating = [check_unit(), keepalived_unit()] if record.vip else []
    return [*master_units(record, machine), *floating, *agent_units(record, machine)]


def _configuration(record: LabRecord, machine: MachineSpec) -> list[File]:
    files = [
        File(MACHINE_INFO, _machine_info(machine)),
        File("/etc/sysctl.d/90-muster.conf", b"net.ipv4.ip_forward = 1\n"),
    ]
    if record.lab.spec.runtime == "containerd":
        files.append(File(CONTAINERD_CONFIG, _resource("containerd.toml")))
    if machine.role == "master":
        files.append(sysusers())
    if machine.role == "master" and record.vip:
        files += keepalived_files(record, machine)
    return files


def _resource(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _machine_info(machine: MachineSpec) -> bytes:
    """What the kubelet reports as capacity: a container's /proc shows the host's instead.

    The local provider writes the same bytes at every boot.
    """
    info = {
        "name": machine.name,
        "role": machine.role,
        "address": machine.address,
        "cpus": machine.cpus,
        "memory_mib": machine.memory_mib,
        "disk_mib": machine.disk_mib,
        "pids": machine.pids,
    }
    return json.dumps(info, indent=2).encode() + b"\n"
