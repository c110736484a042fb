"""Runs nft: the table as one transaction, and what differs as another."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from kube.component.log import get_logger
from worker.proxy.commands import RulesError, execute
from worker.proxy.endpoints import OwnNode
from worker.proxy.generation import Witness, generation
from worker.proxy.nft import names
from worker.proxy.nft.changes import Transaction, changes, rebuilt
from worker.proxy.nft.listing import parse
from worker.proxy.nft.rules import render
from worker.proxy.nft.table import Table, assemble
from worker.proxy.rendered import RenderedService, rendered
from worker.proxy.restore import dialect, misread, translated
from worker.proxy.ruleset import Options, Tables
from worker.proxy.writer import Written

log = get_logger(__name__)
LEAST_VERSION = (1, 0, 1)  # upstream's too
_LIST = ["nft", "-s", "-y", "list", "table", "ip", names.TABLE]


class NftablesWriter:
    """Writes what differs from what it wrote, or in a full write from what is there."""

    mode = "nftables"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._mark = f"0x{1 << options.masquerade_bit:08x}"
        self._applied = Table()
        self._dialect: Tables = {}
        self._witness = Witness()

    @classmethod
    async def open(cls, options: Options) -> NftablesWriter:
        """Raises RulesError where nft is missing or too old."""
        if shutil.which("nft") is None:
            raise RulesError("nft is not installed (Debian package nftables)")
        output = await execute(["nft", "--version"])
        found = re.search(r"v(\d+)\.(\d+)\.(\d+)", output.stdout)
        if found is None or tuple(map(int, found.groups())) < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            raise RulesError(f"nft is {output.stdout.strip() or 'unknown'}, {least} is needed")
        return cls(options)

    def render(
        self, service: Service | None, slices: Sequence[EndpointSlice], node: OwnNode
    ) -> RenderedService[Any]:
        cidr = self._options.cluster_cidr
        return rendered(service, slices, node, lambda port, to: render(port, to, cidr))

    def rules(self) -> Mapping[str, int]:
        return {names.TABLE: sum(map(len, self._applied.chains.values()))}

    async def write(
        self, services: Mapping[str, RenderedService[Any]], node: OwnNode, *, full: bool
    ) -> Written:
        desired = assemble(services, self._mark, node.addresses)
        before = generation()
        # What nobody touched need not be read, not even for a full sync.
        read = full and not self._witness.unchanged(before)
        try:
            done = await (self._full(desired) if read else self._partial(desired))
        except BaseException:
            self._witness = Witness()
            raise
        self._applied = desired
        self._witness.saw(before, generation(), 1 if done.text else 0, read=read)
        return Written(done.chains, {names.TABLE: done.rules}) if done.text else Written()

    async def _partial(self, desired: Table) -> Transaction:
        transaction = changes(self._applied, desired)
        await _apply(transaction)
        return transaction

    async def _full(self, desired: Table) -> Transaction:
        there = await listed()
        if there is None:
            transaction = rebuilt(desired)
            await _apply(transaction)
            return transaction
        saved, applied = _tables(there), _tables(self._applied)
        known = Table(
            translated(saved, self._dialect, applied)[names.TABLE],
            there.affinities,
            there.elements,
        )
        transaction = changes(known, desired)
        try:
            await _apply(transaction)
        except RulesError as error:
            # Some kernels refuse to end a chain that the same transaction emptied, and others
            # may have led rules of theirs into ours.
            log.warning("table is made anew", error=str(error))
            transaction = rebuilt(desired)
            await _apply(transaction)
        if transaction.text and misread(saved, applied):
            await self._learn(desired)
        return transaction

    async def _learn(self, desired: Table) -> None:
        """How this nft prints what it prints otherwise than we write it."""
        if (there := await listed()) is not None:
            self._dialect = dialect(_tables(there), _tables(desired))


def _tables(table: Table) -> Tables:
    return {names.TABLE: table.chains}


async def listed() -> Table | None:
    """None when the table is not there, or is not like ours."""
    output = await execute(_LIST)
    return None if output.code else parse(output.stdout)


async def _apply(transaction: Transaction) -> None:
    if not transaction.text:
        return
    output = await execute(["nft", "-f", "-"], transaction.text)
    if output.code:
        raise RulesError(f"nft failed: {_first(output.stderr)}")


def _first(stderr: str) -> str:
    """The complaint and the line that it is about."""
    return " ".join(" ".join(stderr.splitlines()[:2]).split())[:500] or "no message"
