"""Rendered rules and restore inputs as transcripts: command, objects, `----`, full output.

REWRITE=1 writes the outputs anew; the change is then reviewed as a diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy.endpoints import OwnNode
from worker.proxy.pending import service_key
from worker.proxy.restore import Restore, changes, cleanup, full, parse_save
from worker.proxy.ruleset import JUMPS, Options, Tables, assemble, render_service

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("proxy_*.txt"))
EMPTY = {
    "filter": {"INPUT": (), "FORWARD": (), "OUTPUT": ()},
    "nat": {"PREROUTING": (), "INPUT": (), "OUTPUT": (), "POSTROUTING": ()},
}


@dataclass
class Kernel:
    """What iptables-save would print: enough of iptables-restore to follow our own input."""

    tables: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: {t: {c: [] for c in chains} for t, chains in EMPTY.items()}
    )

    def restore(self, restore: Restore) -> None:
        table: dict[str, list[str]] = {}
        for line in restore.text.splitlines():
            verb, _, rest = line.partition(" ")
            chain = rest.split(" ")[0]
            if line.startswith("*"):
                table = self.tables.setdefault(line[1:], {})
            elif line.startswith(":"):
                table[verb[1:]] = []
            elif verb == "-A":
                table[chain].append(line)
            elif verb == "-I":
                table[chain].insert(0, line.replace("-I", "-A", 1))
            elif verb == "-D":
                table[chain].remove(line.replace("-D", "-A", 1))
            elif verb == "-X":
                assert not table.pop(chain)
            else:
                assert line == "COMMIT", line

    def save(self) -> str:
        lines = []
        for table, chains in self.tables.items():
            lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in chains)]
            lines += [rule for rules in chains.values() for rule in rules] + ["COMMIT"]
        return "\n".join(lines)


@dataclass
class Scenario:
    kernel: Kernel = field(default_factory=Kernel)
    applied: Tables = field(default_factory=dict)

    def run(self, command: str, objects: list[dict[str, Any]]) -> str:
        verb, *words = command.split()
        flags = dict(word.split("=", 1) for word in words)
        desired = desired_of(objects, flags)
        if verb == "render":
            return shown(desired, flags["show"])
        if verb == "cleanup":
            restore = cleanup(parse_save(self.kernel.save()))
        elif verb == "full":
            restore = full(parse_save(self.kernel.save()), desired, JUMPS)
        else:
            restore = changes(self.applied, desired)
        self.kernel.restore(restore)
        self.applied = desired
        if verb == "cleanup":
            assert self.kernel == Kernel({**Kernel().tables, "mangle": {}})
        return restore.text or "nothing to write\n"


def desired_of(objects: list[dict[str, Any]], flags: dict[str, str]) -> Tables:
    options = Options(cluster_cidr=flags.get("cluster-cidr", ""))
    node = OwnNode(flags.get("node", "w1"), flags.get("zone", ""))
    services = [msgspec.convert(o, Service) for o in objects if o["kind"] == "Service"]
    slices = [msgspec.convert(o, EndpointSlice) for o in objects if o["kind"] == "EndpointSlice"]
    rendered = {}
    for service in services:
        key = f"{service.metadata.namespace}/{service.metadata.name}"
        own = [slice_ for slice_ in slices if service_key(slice_) == key]
        rendered[key] = render_service(service, own, node, options)
    return assemble(rendered, options)


def shown(tables: Tables, what: str) -> str:
    """All as `iptables-save` would print it, or only the rules that name a namespace."""
    lines = []
    for table, chains in tables.items():
        rules = [rule for chain in chains.values() for rule in chain]
        if what == "all":
            lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in chains), *rules, "COMMIT"]
        else:
            mine = {c for c, own in chains.items() if any(f"{what}/" in r for r in own)}
            own_chains = {c for c in mine if re.match("KUBE-(SVC|SVL|SEP|EXT|FW)-", c)}
            picked = [rule for rule in rules if f"{what}/" in rule or rule.split()[1] in own_chains]
            lines += [f"*{table}", *picked] if picked else []
    return "\n".join(lines or ["nothing"]) + "\n"


def blocks(text: str) -> Iterator[tuple[str, str, str, str]]:
    """(comment lines, command, objects, expected output), by blank line."""
    for block in re.split(r"\n\n+(?=#)", text.strip() + "\n"):
        given, _, expected = block.partition("\n----\n")
        if not _:
            given = block.removesuffix("\n----").rstrip("\n-")
        comments = "".join(line + "\n" for line in given.splitlines() if line.startswith("#"))
        command, _, objects = given[len(comments) :].partition("\n")
        yield comments, command, objects, expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    """Every output in the file is what the renderer gives now."""
    scenario, now = Scenario(), []
    for comments, command, objects, _ in blocks(path.read_text()):
        output = scenario.run(command, [o for o in yaml.safe_load_all(objects) if o])
        now.append(f"{comments}{command}\n{objects}{'' if not objects else chr(10)}----\n{output}")
    text = "\n".join(now)
    if os.environ.get("REWRITE"):
        path.write_text(text)
    assert text == path.read_text()
