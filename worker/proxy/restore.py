"""What `iptables-restore --noflush` must read to get from one ruleset to another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.proxy import names
from worker.proxy.ruleset import Jump, Tables
from worker.proxy.sections import Edit, sections

_LINE = re.compile(r"line:? (\d+)")
_QUOTED = re.compile(r"'([^'\s]+)'")


@dataclass(frozen=True, slots=True)
class Restore:
    """Input of one iptables-restore; empty text when nothing differs."""

    text: str = ""
    # table -> rules written, for kubeproxy_sync_proxy_rules_iptables_last
    written: Mapping[str, int] = field(default_factory=dict)
    chains: tuple[str, ...] = ()

    @property
    def transactions(self) -> int:
        return self.text.count("COMMIT\n")

    def line(self, number: int) -> str:
        lines = self.text.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


def parse_save(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Every chain with its rules out of `iptables-save`."""
    tables: dict[str, dict[str, list[str]]] = {}
    table: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            table.setdefault(line[1:].split(" ", 1)[0], [])
        elif line.startswith("-A "):
            table.setdefault(line[3:].split(" ", 1)[0], []).append(line.rstrip())
    return {
        name: {chain: tuple(rules) for chain, rules in chains.items()}
        for name, chains in tables.items()
    }


def changes(current: Tables, desired: Tables, most: int = 0) -> Restore:
    """Between two states that we know: the fewest chains, no look at built-in chains.

    `most` limits the chains of a section, see `sections`.
    """
    return _restore({name: _changed(current, desired, name) for name in desired}, most=most)


def full(saved: Tables, desired: Tables, jumps: Iterable[Jump], most: int = 0) -> Restore:
    """From whatever the kernel holds: our chains made right, missing jumps put in front."""
    missing: dict[str, list[str]] = {}
    for jump in jumps:
        # By target, not by text: a jump must never be added twice because it prints otherwise.
        present = map(_target, saved.get(jump.table, {}).get(jump.chain, ()))
        if jump.target not in present:
            missing.setdefault(jump.table, []).append(jump.rule.replace("-A", "-I", 1))
    edits = {name: _changed(saved, desired, name) for name in desired}
    return _restore(edits, missing, most)


def cleanup(saved: Tables, most: int = 0) -> Restore:
    """Take away every chain of ours and every rule elsewhere that leads into one."""
    edits = {
        table: Edit({}, tuple(sorted(chain for chain in chains if names.is_ours(chain))))
        for table, chains in saved.items()
    }
    jumps: dict[str, list[str]] = {
        table: [
            line.replace("-A", "-D", 1)
            for chain, rules in chains.items()
            if not names.is_ours(chain)
            for line in rules
            if names.is_ours(_target(line))
        ]
        for table, chains in saved.items()
    }
    return _restore(edits, jumps, most)


def _changed(current: Tables, desired: Tables, table: str) -> Edit:
    old, new = current.get(table, {}), desired[table]
    return Edit(
        {
            chain: rules
            for chain, rules in new.items()
            # A service that did not change hands out the same tuple: no need to compare it.
            if (known := old.get(chain)) is not rules and known != rules
        },
        tuple(sorted(chain for chain in old if chain not in new and names.is_ours(chain))),
    )


def _restore(
    edits: Mapping[str, Edit], single: Mapping[str, list[str]] | None = None, most: int = 0
) -> Restore:
    lines: list[str] = []
    written: dict[str, int] = {}
    for table, edit in edits.items():
        extra = (single or {}).get(table, [])
        if edit.write or edit.remove or extra:
            lines += sections(table, edit, extra, most)
            written[table] = sum(map(len, edit.write.values())) + len(extra)
    chains = tuple(
        f"{table}/{chain}" for table, edit in edits.items() for chain in (*edit.write, *edit.remove)
    )
    return Restore("\n".join(lines) + "\n" if lines else "", written, chains)


def dialect(saved: Tables, desired: Tables) -> Tables:
    """Chains that this iptables prints otherwise than we write them, as it prints them.

    `saved` must have been read right after `desired` was written.
    """
    return {
        table: {
            chain: saved[table][chain]
            for chain, rules in chains.items()
            if saved.get(table, {}).get(chain, rules) != rules
        }
        for table, chains in desired.items()
    }


def translated(saved: Tables, spoken: Tables, applied: Tables) -> Tables:
    """`saved` with the chains that are as we left them in our own words."""
    return {
        table: {
            chain: applied.get(table, {}).get(chain, rules)
            if rules == spoken.get(table, {}).get(chain)
            else rules
            for chain, rules in chains.items()
        }
        for table, chains in saved.items()
    }


def misread(saved: Tables, applied: Tables) -> bool:
    """Whether a chain that we left reads otherwise now: changed by others, or our iptables has
    words of its own for it."""
    return any(
        chain in saved.get(table, {}) and saved[table][chain] != rules
        for table, chains in applied.items()
        for chain, rules in chains.items()
    )


def _target(line: str) -> str:
    words = line.split()
    return words[words.index("-j") + 1] if "-j" in words[:-1] else ""


def explain(restore: Restore, stderr: str) -> str:
    """iptables' complaint together with the rule that it means."""
    message = " ".join(stderr.split()) or "no message"
    numbers = [int(number) for number in _LINE.findall(stderr)]
    culprits = [line for line in map(restore.line, numbers) if line and line != "COMMIT"]
    # The nft back end checks jumps at the end only, and then names the chain, not the line.
    culprits = culprits or [
        line
        for word in _QUOTED.findall(stderr)
        for line in restore.text.splitlines()
        if line.startswith("-") and word in line.split()
    ]
    if culprits:
        return f"{message} ({'; '.join(f'rule: {line}' for line in dict.fromkeys(culprits))})"
    # The legacy back end hands a table over as one: the kernel refuses it without a reason.
    return f"{message} (while writing {', '.join(restore.chains[:8]) or 'jumps'})"
