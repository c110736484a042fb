"""The mode `iptables`: the rules of `ruleset` through iptables-restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy.endpoints import OwnNode
from worker.proxy.generation import Witness
from worker.proxy.iptables import Iptables
from worker.proxy.rendered import RenderedService
from worker.proxy.restore import Restore, changes, dialect, full, misread, parse_save, translated
from worker.proxy.ruleset import JUMPS, Options, Tables, assemble, render_service
from worker.proxy.writer import Written


class IptablesWriter:
    """Writes the chains that differ from what it wrote, or in a full write from what is there."""

    mode = "iptables"

    def __init__(self, iptables: Iptables, options: Options) -> None:
        self._iptables = iptables
        self._options = options
        self._applied: Tables = {}
        self._dialect: Tables = {}
        self._witness = Witness()

    def render(
        self, service: Service | None, slices: Sequence[EndpointSlice], node: OwnNode
    ) -> RenderedService[Any]:
        return render_service(service, slices, node, self._options)

    def rules(self) -> Mapping[str, int]:
        return {table: sum(map(len, chains.values())) for table, chains in self._applied.items()}

    async def write(
        self, services: Mapping[str, RenderedService[Any]], node: OwnNode, *, full: bool
    ) -> Written:
        desired = assemble(services, self._options)
        before = self._iptables.generation()
        # What nobody touched need not be read, not even for a full sync.
        read = full and not self._witness.unchanged(before)
        try:
            restore = await (self._full(desired) if read else self._partial(desired))
        except BaseException:
            self._witness = Witness()
            raise
        self._applied = desired
        after = self._iptables.generation()
        self._witness.saw(before, after, restore.transactions, read=read)
        return Written(len(restore.chains), restore.written)

    async def _partial(self, desired: Tables) -> Restore:
        restore = changes(self._applied, desired, self._iptables.section_chains)
        if restore.text:
            await self._iptables.restore(restore)
        return restore

    async def _full(self, desired: Tables) -> Restore:
        saved = translated(parse_save(await self._iptables.save()), self._dialect, self._applied)
        restore = full(saved, desired, JUMPS, self._iptables.section_chains)
        if restore.text:
            await self._iptables.restore(restore)
            if misread(saved, self._applied):
                self._dialect = dialect(parse_save(await self._iptables.save()), desired)
        return restore
