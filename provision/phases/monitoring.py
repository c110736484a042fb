"""The Prometheus of a lab: started when its machines are, ended with them."""

from __future__ import annotations

import asyncio

from provision.monitoring import server
from provision.payload.exporter import PACKAGE as EXPORTER
from provision.payload.exporter import has_node_exporter
from provision.phases.report import Reporter
from provision.phases.session import Session
from provision.providers import declared


async def start_monitoring(session: Session, reporter: Reporter) -> list[str]:
    """Start it, or take it away where the lab file says so. Returns what changed.

    A lab without it is as good otherwise: what keeps it from running is said, and no error.
    """
    spec, directory = session.record.lab.spec, session.directory
    if not spec.monitoring:
        stopped = await asyncio.to_thread(server.stop, directory)
        return ["prometheus stopped"] if stopped else []
    if lacking := lacks(session):
        reporter.note(lacking)
    if declared(spec.provider).in_a_cloud or not server.installed():
        return []
    running, started = await asyncio.to_thread(server.ensure, directory)
    return [f"prometheus started: {running.url}"] if started else []


def lacks(session: Session) -> str:
    """Why the lab is watched in part or not at all; empty where it is."""
    record = session.record
    if declared(record.lab.spec.provider).in_a_cloud:
        return "no Prometheus: this host does not reach the ports of machines in a cloud"
    missing = [] if server.installed() else [server.PACKAGE]
    missing += [] if has_node_exporter(record) else [EXPORTER]
    if not missing:
        return ""
    what = "no Prometheus" if server.PACKAGE in missing else "no series of machines"
    return f"{what}: not installed here (apt-get install {' '.join(missing)})"
