"""What every pod worker shares: the runtime, the api-server, and the node's settings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from muster.client.client import Client
from muster.client.events import EventRecorder
from worker.kubelet.cgroups import Cgroups
from worker.kubelet.configs import NodeShape
from worker.kubelet.cri import Runtime
from worker.kubelet.dns import ClusterDns
from worker.kubelet.gate import Gate
from worker.kubelet.images import Images
from worker.kubelet.podfiles import PodFiles
from worker.kubelet.sources import SourceReader
from worker.kubelet.statuses import StatusWriter
from worker.kubelet.usernamespaces import UserNamespaces
from worker.kubelet.volumes import Volumes


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Set once at start."""

    name: str
    ip: str
    runtime_name: str
    shape: NodeShape
    dns: ClusterDns
    hosts_text: str  # the machine's own /etc/hosts
    pod_logs: Path


@dataclass(frozen=True, slots=True)
class Tools:
    node: NodeSettings
    client: Client
    runtime: Runtime
    images: Images
    volumes: Volumes
    files: PodFiles
    cgroups: Cgroups
    sources: SourceReader
    statuses: StatusWriter
    events: EventRecorder
    session: aiohttp.ClientSession
    gate: Gate
    users: UserNamespaces
    # Sandboxes and containers made at once: each costs several processes, and a machine that
    # boots with a hundred pods on two cores would only thrash.
    starts: asyncio.Semaphore
