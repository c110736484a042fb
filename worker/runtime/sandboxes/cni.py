"""Runs CNI plugins: ADD when a sandbox starts, DEL when it stops.

The result of ADD is kept on disk, since DEL wants it back (CNI specification, section 4), also
after a restart. DEL is safe to repeat and does not need the namespace to exist any more.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kube.component.log import get_logger
from worker.runtime import documents
from worker.runtime.errors import RuntimeFailure, Unavailable
from worker.runtime.sandboxes import cni_config
from worker.runtime.sandboxes.cni_config import CniConfigError, Json, NetworkList

log = get_logger(__name__)
INTERFACE = "eth0"
PLUGIN_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Attachment:
    """Which sandbox is plugged into the network, and how plugins are told."""

    sandbox_id: str
    netns: str
    args: str
    capability_args: Mapping[str, Any]


class _Cached(msgspec.Struct, frozen=True):
    """What ADD was run with, and its last result (None while it runs)."""

    name: str
    cni_version: str
    plugins: tuple[Json, ...]
    args: str
    capability_args: Json
    result: Json | None = None


class Cni:
    def __init__(self, conf_dir: Path, bin_dir: Path, cache_dir: Path) -> None:
        self._conf_dir = conf_dir
        self._bin_dir = bin_dir
        self._cache_dir = cache_dir

    def network(self) -> NetworkList | None:
        """The configured network, read afresh; None while there is none."""
        try:
            name = cni_config.choose([p.name for p in self._conf_dir.iterdir() if p.is_file()])
        except FileNotFoundError:
            return None
        if name is None:
            return None
        return cni_config.parse(name, (self._conf_dir / name).read_text())

    def problem(self) -> str | None:
        """Why pods cannot have a network now; None when they can."""
        try:
            network = self.network()
        except (CniConfigError, OSError) as error:
            return str(error)
        if network is None:
            return f"no CNI configuration in {self._conf_dir}"
        missing = [p["type"] for p in network.plugins if not self._binary(p["type"]).exists()]
        return f"CNI plugin {missing[0]} is not in {self._bin_dir}" if missing else None

    async def add(self, attachment: Attachment) -> tuple[str, ...]:
        """Plug the sandbox in; returns its addresses. A failed ADD is followed by DEL."""
        if problem := self.problem():
            raise Unavailable(f"pod network is not ready: {problem}")
        network = self.network()
        assert network is not None
        cached = _Cached(
            network.name, network.cni_version, network.plugins,
            attachment.args, dict(attachment.capability_args),
        )  # fmt: skip
        # Written before the first plugin runs: whatever it leaves behind will be deleted.
        documents.save(self._cache_file(attachment.sandbox_id), cached)
        try:
            result: Json | None = None
            for plugin in network.plugins:
                stdin = cni_config.plugin_input(network, plugin, attachment.capability_args, result)
                result = await self._run("ADD", plugin["type"], attachment, stdin)
            assert result is not None
        except BaseException:
            await self.delete(attachment.sandbox_id, attachment.netns)
            raise
        documents.save(
            self._cache_file(attachment.sandbox_id), msgspec.structs.replace(cached, result=result)
        )
        return cni_config.addresses(result)

    async def delete(self, sandbox_id: str, netns: str) -> None:
        """Unplug the sandbox, in reverse order, and forget it. Does nothing the second time."""
        path = self._cache_file(sandbox_id)
        cached = documents.load(path, _Cached)
        if cached is not None:
            network = NetworkList(cached.name, cached.cni_version, cached.plugins)
            # A namespace that is gone (reboot) is spelled as an empty CNI_NETNS.
            present = netns if netns and Path(netns).exists() else ""
            attachment = Attachment(sandbox_id, present, cached.args, cached.capability_args)
            for plugin in reversed(network.plugins):
                stdin = cni_config.plugin_input(
                    network, plugin, cached.capability_args, cached.result
                )
                await self._run("DEL", plugin["type"], attachment, stdin)
        path.unlink(missing_ok=True)

    async def _run(self, command: str, plugin: str, at: Attachment, stdin: Json) -> Json:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": at.sandbox_id,
            "CNI_NETNS": at.netns,
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": at.args,
            "CNI_PATH": str(self._bin_dir),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        try:
            process = await asyncio.create_subprocess_exec(
                str(self._binary(plugin)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
        except OSError as error:
            raise RuntimeFailure(f"CNI plugin {plugin} did not start: {error}") from error
        try:
            async with asyncio.timeout(PLUGIN_TIMEOUT_SECONDS):
                out, err = await process.communicate(json.dumps(stdin).encode())
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise RuntimeFailure(f"CNI plugin {plugin} {command} took too long") from error
        if process.returncode != 0:
            raise RuntimeFailure(f"CNI plugin {plugin} {command} failed: {_reason(out, err)}")
        return json.loads(out) if command == "ADD" else {}

    def _binary(self, plugin: str) -> Path:
        if "/" in plugin:
            raise CniConfigError(f'CNI plugin type "{plugin}" is not a file name')
        return self._bin_dir / plugin

    def _cache_file(self, sandbox_id: str) -> Path:
        return self._cache_dir / f"{sandbox_id}.json"


def _reason(out: bytes, err: bytes) -> str:
    """A plugin's own words: the error object on stdout, else what it wrote."""
    try:
        error = json.loads(out)
        return f"{error.get('msg', '')} {error.get('details', '')}".strip()
    except (ValueError, AttributeError):
        return (err or out).decode(errors="replace").strip()[-500:]
