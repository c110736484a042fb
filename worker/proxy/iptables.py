"""Runs iptables-restore and iptables-save, with errors that name the rule."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kube.component.log import get_logger
from worker.proxy.commands import RulesError, execute
from worker.proxy.generation import generation
from worker.proxy.restore import Restore, explain

log = get_logger(__name__)

BACKENDS = ("nft", "legacy")
LOCK_SECONDS = 5  # how long to wait for /run/xtables.lock, which legacy tools share
TIMEOUT_SECONDS = 120.0
# Of a section for the nft back end, see `sections`.
NFT_SECTION_CHAINS = 220
RANDOM_FULLY_SINCE = (1, 6, 2)
_LEGACY_TABLES = Path("/proc/net/ip_tables_names")


@dataclass(frozen=True, slots=True)
class Iptables:
    """One back end of the iptables tools: `nft` or `legacy`."""

    backend: str
    random_fully: bool = True

    @classmethod
    async def open(cls, backend: str) -> Iptables:
        """The named back end, or with `auto` the one to use here. Raises RulesError."""
        chosen = await _choose() if backend == "auto" else backend
        if shutil.which(f"iptables-{chosen}-restore") is None:
            raise RulesError(
                f"iptables-{chosen}-restore is not installed (Debian package iptables)"
            )
        return cls(chosen, await _random_fully(chosen))

    @property
    def section_chains(self) -> int:
        """How many chains a section of its input may have; 0 for any number."""
        return NFT_SECTION_CHAINS if self.backend == "nft" else 0

    def generation(self) -> int | None:
        """See `generation`; the legacy back end's rules have none."""
        return generation() if self.backend == "nft" else None

    async def save(self) -> str:
        """All tables of this network namespace."""
        return await _save(self.backend)

    async def restore(self, restore: Restore) -> None:
        """Apply; a section is done wholly or not at all, and chains not named stay."""
        command = [f"iptables-{self.backend}-restore", "-w", str(LOCK_SECONDS), "--noflush"]
        output = await execute(command, restore.text)
        if output.code:
            raise RulesError(f"{command[0]} failed: {explain(restore, output.stderr)}")


async def _save(backend: str) -> str:
    command = [f"iptables-{backend}-save"]
    output = await execute(command)
    if output.code:
        raise RulesError(f"{command[0]} failed: {' '.join(output.stderr.split())}")
    return output.stdout


async def _choose() -> str:
    """Whichever holds our chains already; else nft, whose small changes cost 20 ms where
    legacy rewrites whole tables; else legacy."""
    installed = [name for name in BACKENDS if shutil.which(f"iptables-{name}-restore")]
    if not installed:
        raise RulesError("no iptables-restore is installed (Debian package iptables)")
    if "legacy" in installed and legacy_in_use() and ":KUBE-SERVICES " in await _save("legacy"):
        return "legacy"
    return await _working(installed)


def legacy_in_use() -> bool:
    # Asking iptables-legacy-save would load the tables' modules.
    try:
        return bool(_LEGACY_TABLES.read_text().strip())
    except OSError:
        return False


async def _working(installed: Sequence[str]) -> str:
    problems = []
    for backend in installed:
        try:
            await _save(backend)
        except RulesError as error:
            problems.append(str(error))
        else:
            return backend
    raise RulesError("; ".join(problems))


async def _random_fully(backend: str) -> bool:
    output = await execute([f"iptables-{backend}", "--version"])
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", output.stdout)
    return found is not None and tuple(map(int, found.groups())) >= RANDOM_FULLY_SINCE
