"""From running machines to running units: what each is given, and the roles that bring it there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from provision.ansible.inventory import inventory
from provision.ansible.run import Outcome, end_processes, run_directory, run_roles
from provision.bundle import Layer, ensure_bundle
from provision.identities import LabRecord
from provision.monitoring.rules import rules_text
from provision.monitoring.scrape import scrape_config
from provision.payload.archive import payload_archive
from provision.payload.build import build_payload
from provision.payload.exporter import has_node_exporter
from provision.phases.report import Step
from provision.phases.session import Session
from provision.pki.store import Pki, ensure_pki
from provision.providers import declared
from provision.providers.base import SshTarget
from provision.ssh.client import wait_reachable
from provision.ssh.keys import write_known_hosts
from provision.state import LabDir, write_private

SSH_SECONDS = 120.0
# What a machine from a distribution's image lacks. Local machines use this host's /usr.
PACKAGES = (
    "conmon",
    "conntrack",
    "containernetworking-plugins",
    "crun",
    "iproute2",
    "iptables",
    "libnghttp2-14",
    "nftables",
    "python3",
)


def write_identities(record: LabRecord, directory: LabDir) -> tuple[dict[str, Path], Pki]:
    """PKI, each machine's payload archive, and the scrape configuration. Returns the archives."""
    pki = ensure_pki(record, directory.pki)
    exporter = has_node_exporter(record)
    archives: dict[str, Path] = {}
    for machine in record.machines:
        path = directory.payloads / f"{machine.name}.tar"
        write_private(path, payload_archive(build_payload(record, machine, pki, exporter)))
        archives[machine.name] = path
    scrape = scrape_config(record, directory.pki, node_exporter=exporter)
    write_private(directory.rules, rules_text().encode(), 0o644)
    write_private(directory.prometheus, scrape.encode(), 0o644)
    return archives, pki


def build_code(session: Session, step: Step) -> tuple[Layer, Layer]:
    return ensure_bundle(session.store.cache / "bundle", lambda text: step.say("", text))


async def wait_ssh(session: Session, step: Step) -> dict[str, SshTarget]:
    """Until every machine runs a command over SSH, with the host key that it was given."""
    targets = await session.targets()
    write_known_hosts(session.directory.known_hosts, targets.values())

    async def one(name: str, target: SshTarget) -> None:
        await wait_reachable(target, name, SSH_SECONDS)
        step.say(name, "reachable")

    async with asyncio.TaskGroup() as tasks:
        for name, target in targets.items():
            tasks.create_task(one(name, target), name=f"ssh {name}")
    return targets


async def apply_roles(
    session: Session,
    targets: Mapping[str, SshTarget],
    archives: Mapping[str, Path],
    layers: tuple[Layer, Layer],
    step: Step,
) -> Outcome:
    packages = (
        ()
        if declared(session.record.lab.spec.provider).on_this_host
        else (*PACKAGES, *_further_packages(session.record))
    )
    document = inventory(
        session.record.machines, targets, archives, layers, packages,
        session.directory.known_hosts,
    )  # fmt: skip
    if packages:
        step.say("", "installing Debian packages where they are missing")
    with run_directory(session.directory.run_note) as directory:
        work = asyncio.ensure_future(asyncio.to_thread(run_roles, document, step.say, directory))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            end_processes(directory)
            await asyncio.wait([work])
            work.exception()  # it failed because we ended it: nobody else needs to know
            raise


def _further_packages(record: LabRecord) -> tuple[str, ...]:
    return (
        *(("keepalived",) if record.vip else ()),
        *(("containerd",) if record.lab.spec.runtime == "containerd" else ()),
        *(("prometheus-node-exporter",) if record.lab.spec.monitoring else ()),
    )
