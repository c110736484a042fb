"""What every pod worker shares: the runtime, the api-server, and the node's settings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from kube.client.client import Client
from kube.client.events import EventRecorder
from worker.kubelet.cri.configs import NodeShape
from worker.kubelet.cri.images import Images
from worker.kubelet.cri.runtime import Runtime
from worker.kubelet.node.cgroups import Cgroups
from worker.kubelet.pod.dns import ClusterDns
from worker.kubelet.pod.gate import Gate
from worker.kubelet.pod.sources import SourceReader
from worker.kubelet.pod.statuses import StatusWriter
from worker.kubelet.pod.usernamespaces import UserNamespaces
from worker.kubelet.volumes.podfiles import PodFiles
from worker.kubelet.volumes.volumes import Volumes


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
