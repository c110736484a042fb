"""Pod sandboxes: pinned namespaces, the pod's network, and the files its containers share.

A sandbox has no process. Its network, IPC and UTS namespaces live on as bind mounts, so there is
no pause container to pull, to start, or to die. Two places on disk:

    <root>/sandboxes/<id>/    sandbox.json, resolv.conf, hostname        survives a reboot
    <state>/sandboxes/<id>/   ipc, uts (namespaces), shm (tmpfs), pidns  gone after a reboot
    /run/netns/<id>           the network namespace, where ip(8) finds it

So a sandbox whose state directory is missing has seen a reboot and is not ready any more.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kube.component.log import get_logger
from kube.files import mounts, trees
from kube.stubs.cri import api_pb2 as cri
from worker.runtime import documents, kernel
from worker.runtime.containers import logplace
from worker.runtime.errors import InvalidArgument, NotFound, RuntimeFailure
from worker.runtime.records import SandboxRecord
from worker.runtime.sandboxes import sysctls, user_namespaces
from worker.runtime.sandboxes.cni import Attachment, Cni
from worker.runtime.sandboxes.pid_namespace import PidNamespaces

log = get_logger(__name__)
_SHM_OPTIONS = "mode=1777,size=65536k"


@dataclass(frozen=True, slots=True)
class Places:
    """The directories of the runtime."""

    root: Path
    state: Path
    netns: Path = Path("/run/netns")

    @property
    def sandboxes(self) -> Path:
        return self.root / "sandboxes"

    @property
    def containers(self) -> Path:
        return self.root / "containers"

    @property
    def exits(self) -> Path:
        return self.root / "exits"

    @property
    def sandbox_state(self) -> Path:
        return self.state / "sandboxes"

    @property
    def bundles(self) -> Path:
        return self.state / "containers"

    @property
    def oci_state(self) -> Path:
        return self.state / "oci"


class Sandboxes:
    """All sandboxes of this node. Callers serialize the calls on one sandbox."""

    def __init__(self, places: Places, cni: Cni) -> None:
        self._places = places
        self._cni = cni
        self._pid_namespaces = PidNamespaces()
        self._records: dict[str, SandboxRecord] = {}
        self._configs: dict[str, cri.PodSandboxConfig] = {}

    # ---- Reading

    def all(self) -> tuple[SandboxRecord, ...]:
        return tuple(r for r in self._records.values() if r.complete)

    def find(self, sandbox_id: str) -> SandboxRecord | None:
        record = self._records.get(sandbox_id)
        return record if record is not None and record.complete else None

    def get(self, sandbox_id: str) -> SandboxRecord:
        record = self.find(sandbox_id)
        if record is None:
            raise NotFound(f'sandbox "{sandbox_id}" not found')
        return record

    def config(self, sandbox_id: str) -> cri.PodSandboxConfig:
        return self._configs[sandbox_id]

    def ready(self, record: SandboxRecord) -> bool:
        return not record.stopped and self._state_dir(record.id).is_dir()

    def netns(self, sandbox_id: str) -> str:
        """The path of the pod's network namespace; "" when it uses the machine's."""
        options = self.config(sandbox_id).linux.security_context.namespace_options
        return "" if options.network == cri.NODE else str(self._places.netns / sandbox_id)

    def namespace_paths(self, sandbox_id: str) -> dict[str, str]:
        """The OCI namespaces that this pod's containers join; what is missing is the machine's."""
        options = self.config(sandbox_id).linux.security_context.namespace_options
        state = self._state_dir(sandbox_id)
        paths: dict[str, str] = {}
        if options.network != cri.NODE:
            paths["network"] = str(self._places.netns / sandbox_id)
            paths["uts"] = str(state / "uts")
        if options.ipc != cri.NODE:
            paths["ipc"] = str(state / "ipc")
        if options.pid == cri.POD:
            paths["pid"] = str(state / "pidns")
        if user_namespaces.mapping(options) is not None:
            paths["user"] = str(state / "user")
        return paths

    def ids(self, sandbox_id: str) -> cri.IDMapping | None:
        """The pod's range of user and group ids; None where it has the machine's."""
        config = self.config(sandbox_id)
        return user_namespaces.mapping(config.linux.security_context.namespace_options)

    def shm(self, sandbox_id: str) -> str:
        options = self.config(sandbox_id).linux.security_context.namespace_options
        if options.ipc == cri.NODE:
            return "/dev/shm"  # noqa: S108 - the machine's own, as asked
        return str(self._state_dir(sandbox_id) / "shm")

    def file(self, sandbox_id: str, name: str) -> str:
        return str(self._dir(sandbox_id) / name)

    def hostname(self, sandbox_id: str) -> str:
        return self._hostname_of(self.config(sandbox_id))

    # ---- Changing

    async def restore(self) -> None:
        """Read what is on disk; take down what was left half made."""
        for path in sorted(self._places.sandboxes.iterdir()):
            record = documents.load(path / "sandbox.json", SandboxRecord)
            if record is None:
                record = SandboxRecord(id=path.name, config=b"", created_at=0)
            self._keep(record)
            if not record.complete:
                log.info("taking down a sandbox that was not finished", sandbox=record.id)
                await self.remove(record.id)

    async def run(self, sandbox_id: str, config: cri.PodSandboxConfig, handler: str) -> None:
        if not config.metadata.name or not config.metadata.uid:
            raise InvalidArgument("the sandbox has no name or no uid")
        record = SandboxRecord(
            id=sandbox_id,
            config=config.SerializeToString(),
            created_at=time.time_ns(),
            runtime_handler=handler,
        )
        self._dir(sandbox_id).mkdir(mode=0o700)
        self._write(record)
        try:
            await asyncio.to_thread(self._make, sandbox_id, config)
            ips: tuple[str, ...] = ()
            if netns := self.netns(sandbox_id):
                ips = await self._cni.add(attachment(sandbox_id, netns, config))
        except OSError as error:
            await self.remove(sandbox_id)
            raise RuntimeFailure(f"sandbox could not be made: {error}") from error
        except BaseException:
            await self.remove(sandbox_id)
            raise
        self._write(msgspec.structs.replace(record, complete=True, ips=ips))

    async def stop(self, sandbox_id: str) -> None:
        """Give back the network and the namespaces. May be called any number of times."""
        record = self._records.get(sandbox_id)
        if record is None:
            return
        await self._cni.delete(sandbox_id, str(self._places.netns / sandbox_id))
        await asyncio.to_thread(self._unmake, sandbox_id)
        if not record.stopped:
            self._write(msgspec.structs.replace(record, stopped=True))

    async def remove(self, sandbox_id: str) -> None:
        await self.stop(sandbox_id)
        await asyncio.to_thread(trees.remove, self._dir(sandbox_id))
        self._records.pop(sandbox_id, None)
        self._configs.pop(sandbox_id, None)

    def _make(self, sandbox_id: str, config: cri.PodSandboxConfig) -> None:
        """Files and namespaces. Blocks."""
        directory, state = self._dir(sandbox_id), self._state_dir(sandbox_id)
        state.mkdir(mode=0o711)
        hostname = self._hostname_of(config)
        documents.replace_file(directory / "hostname", f"{hostname}\n".encode(), 0o644)
        documents.replace_file(directory / "resolv.conf", self._resolv_conf(config), 0o644)
        if config.log_directory:
            logplace.make_directory(Path(config.log_directory))
        pins: dict[str, Path] = {}
        sysctls.check(config.linux.sysctls, config.linux.security_context.namespace_options)
        options = config.linux.security_context.namespace_options
        ids = user_namespaces.mapping(options)
        if options.network != cri.NODE:
            self._places.netns.mkdir(mode=0o755, parents=True, exist_ok=True)
            pins["net"] = self._places.netns / sandbox_id
            pins["uts"] = state / "uts"
        if options.ipc != cri.NODE:
            pins["ipc"] = state / "ipc"
            (state / "shm").mkdir()
            flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
            owner = f",uid={ids.host_id},gid={ids.host_id}" if ids else ""
            mounts.mount("shm", str(state / "shm"), "tmpfs", flags, _SHM_OPTIONS + owner)
        if ids is not None:
            pins["user"] = state / "user"
            user_namespaces.pin(pins, ids, hostname, dict(config.linux.sysctls))
        elif pins:
            kernel.pin_new_namespaces(pins, hostname, dict(config.linux.sysctls))
        if options.pid == cri.POD:
            user = pins.get("user")
            self._pid_namespaces.make(state / "pidns", state / "pidns.pid", user)

    def _unmake(self, sandbox_id: str) -> None:
        """Undo `_make`, whatever part of it was done. Blocks."""
        state, netns = self._state_dir(sandbox_id), self._places.netns / sandbox_id
        mounts.unmount(str(netns))
        netns.unlink(missing_ok=True)
        if not state.exists():
            return
        self._pid_namespaces.end(state / "pidns.pid")
        for name in ("pidns", "shm", "ipc", "uts", "user"):
            mounts.unmount(str(state / name))
        trees.remove(state)

    def _resolv_conf(self, config: cri.PodSandboxConfig) -> bytes:
        if not config.HasField("dns_config"):
            return _machine_resolv_conf()
        return resolv_conf(config.dns_config).encode()

    def _hostname_of(self, config: cri.PodSandboxConfig) -> str:
        return config.hostname or Path("/proc/sys/kernel/hostname").read_text().strip()

    def _write(self, record: SandboxRecord) -> None:
        documents.save(self._dir(record.id) / "sandbox.json", record)
        self._keep(record)

    def _keep(self, record: SandboxRecord) -> None:
        self._records[record.id] = record
        self._configs[record.id] = cri.PodSandboxConfig.FromString(record.config)

    def _dir(self, sandbox_id: str) -> Path:
        return self._places.sandboxes / sandbox_id

    def _state_dir(self, sandbox_id: str) -> Path:
        return self._places.sandbox_state / sandbox_id


def attachment(sandbox_id: str, netns: str, config: cri.PodSandboxConfig) -> Attachment:
    """What CNI plugins are told about a pod: the keys that Kubernetes plugins look for. Pure."""
    meta = config.metadata
    args = ";".join(
        (
            "IgnoreUnknown=1",
            f"K8S_POD_NAMESPACE={meta.namespace}",
            f"K8S_POD_NAME={meta.name}",
            f"K8S_POD_INFRA_CONTAINER_ID={sandbox_id}",
            f"K8S_POD_UID={meta.uid}",
        )
    )
    mappings: list[dict[str, Any]] = [
        {
            "hostPort": p.host_port,
            "containerPort": p.container_port,
            "protocol": cri.Protocol.Name(p.protocol).lower(),
            "hostIP": p.host_ip,
        }
        for p in config.port_mappings
        if p.host_port > 0
    ]
    return Attachment(sandbox_id, netns, args, {"portMappings": mappings})


def resolv_conf(dns: cri.DNSConfig) -> str:
    """resolv.conf(5) of a pod. Pure."""
    lines = []
    if dns.searches:
        lines.append("search " + " ".join(dns.searches))
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append("options " + " ".join(dns.options))
    return "".join(line + "\n" for line in lines)


def _machine_resolv_conf() -> bytes:
    try:
        return Path("/etc/resolv.conf").read_bytes()
    except FileNotFoundError:
        return b""


def prepare(places: Places) -> None:
    """Make the directories that everything else expects."""
    for path in (places.sandboxes, places.containers, places.exits):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (places.sandbox_state, places.bundles, places.oci_state):
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
    # An older scratch file of a killed process is of no use to anybody.
    shutil.rmtree(places.state / "exec", ignore_errors=True)
    (places.state / "exec").mkdir(mode=0o700)
