"""Puts together what the launcher of one machine needs to know."""

from __future__ import annotations

import os
from collections.abc import Iterable

from provision.providers.base import LabSpec, MachineSpec
from provision.providers.identity import Identity
from provision.providers.local.cgroupfs import procs_files
from provision.providers.local.cgroups import CgroupLayout, links_inside, mounts_inside
from provision.providers.local.etc import File, HostFacts, every_boot, first_boot
from provision.providers.local.hostfacts import library_cache
from provision.providers.local.launchspec import FileSpec, LaunchSpec
from provision.providers.local.names import machine_netns
from provision.providers.local.network import NETNS_DIRECTORY
from provision.providers.local.state import LabPaths
from provision.providers.local.users import user_base

INIT = ["/usr/lib/systemd/systemd", "--system"]


def launch_spec(
    lab: LabSpec,
    machine: MachineSpec,
    layout: CgroupLayout,
    identity: Identity,
    facts: HostFacts,
) -> LaunchSpec:
    paths = LabPaths(lab.state_dir).machine(machine.name)
    tree = first_boot(lab, machine, identity, facts)
    return {
        "parent": os.getpid(),
        "hostname": machine.name,
        "disk": str(paths.disk),
        "image": str(paths.image) if paths.image.exists() else None,
        "user_base": base_of(lab, machine),
        "netns": str(NETNS_DIRECTORY / machine_netns(lab.name, machine.name)),
        "cgroup_procs": procs_files(layout, lab.name, machine.name),
        "cgroup_mounts": [
            {"target": m.target, "kind": m.kind, "options": m.options}
            for m in mounts_inside(layout)
        ],
        "cgroup_links": links_inside(layout),
        "directories": dict(tree.directories),
        "files": _files(tree.files),
        "links": dict(tree.links),
        "copies": library_cache(),
        "every_boot": _files(every_boot(machine)),
        "record": str(paths.process),
        "init": INIT,
    }


def own_users(lab: LabSpec) -> bool:
    """Whether root in this lab's machines is nobody on the host (`spec.local.userNamespaces`)."""
    return bool(lab.options.get("user_namespaces"))


def base_of(lab: LabSpec, machine: MachineSpec) -> int | None:
    """The host's user that is the machine's root; None where that is root itself."""
    if not own_users(lab):
        return None
    return user_base(lab.name, [m.name for m in lab.machines], machine.name)


def _files(files: Iterable[File]) -> list[FileSpec]:
    return [{"path": f.path, "content": f.content, "mode": f.mode} for f in files]
