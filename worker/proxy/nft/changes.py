"""What `nft -f` must read to get from one state of the table to another. Pure.

One input is one transaction: all of it happens at once, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from worker.proxy.nft import names
from worker.proxy.nft.rules import Element
from worker.proxy.nft.table import COLLECTIONS, HOOKS, Table

_TABLE = f"ip {names.TABLE}"
_ADD_TABLE = f'add table {_TABLE} {{ comment "rules for kube-proxy" ; }}'


@dataclass(frozen=True, slots=True)
class Transaction:
    """Input of one nft; empty text when nothing differs."""

    text: str = ""
    chains: int = 0
    rules: int = 0


def rebuilt(table: Table) -> Transaction:
    """Everything anew, whatever the kernel holds. Clients' affinity is forgotten."""
    head = [_ADD_TABLE, f"delete table {_TABLE}", _ADD_TABLE]
    for name, collection in COLLECTIONS.items():
        body = f'{collection.type} ; comment "{collection.comment}" ;'
        head.append(f"add {collection.kind} {_TABLE} {name} {{ {body} }}")
    return _transaction([*head, *_changed(Table(), table)], table.chains)


def changes(old: Table, new: Table) -> Transaction:
    """Between two states that we know: only what differs."""
    if any(
        new.affinities.get(name, seconds) != seconds for name, seconds in old.affinities.items()
    ):
        return rebuilt(new)  # a set's timeout is for ever, and rules hold the set
    written = {
        name: rules
        for name, rules in new.chains.items()
        # A service that did not change hands out the same tuple: no need to compare it.
        if (known := old.chains.get(name)) is not rules and known != rules
    }
    return _transaction(list(_changed(old, replace(new, chains=written), new)), written)


def _transaction(lines: list[str], written: Mapping[str, tuple[str, ...]]) -> Transaction:
    if not lines:
        return Transaction()
    return Transaction("\n".join(lines) + "\n", len(written), sum(map(len, written.values())))


def _changed(old: Table, new: Table, whole: Table | None = None) -> Iterator[str]:
    """`new.chains` are those to write, `whole.chains` all that shall be. First what others name."""
    whole = whole or new
    gone = [name for name in old.chains if name not in whole.chains]
    for name in new.affinities.keys() - old.affinities.keys():
        yield f"add set {_TABLE} {name} {_affinity(new.affinities[name])}"
    yield from _elements(
        "delete", ((e, "") for e, value in old.elements.items() if new.elements.get(e) != value)
    )
    for name in (*(n for n in new.chains if n in old.chains), *gone):
        yield f"flush chain {_TABLE} {name}"
    if new.chains:
        # As one block, which nft reads quicker than a command for each rule. It makes all chains
        # of a block before the first rule.
        yield f"table {_TABLE} {{"
        for name, rules in new.chains.items():
            yield f"chain {name} {{"
            yield from _head(name)
            yield from rules
            yield "}"
        yield "}"
    yield from _elements(
        "add", ((e, v) for e, v in new.elements.items() if old.elements.get(e) != v)
    )
    for name in gone:
        yield f"delete chain {_TABLE} {name}"
    for name in old.affinities.keys() - new.affinities.keys():
        yield f"delete set {_TABLE} {name}"


def _affinity(seconds: int) -> str:
    return f"{{ type ipv4_addr ; flags dynamic,timeout ; timeout {seconds}s ; }}"


def _head(name: str) -> Iterator[str]:
    if name == names.REJECT:
        yield 'comment "helper for @no-endpoint-services / @no-endpoint-nodeports"'
    if name in HOOKS:
        yield HOOKS[name]


def _elements(verb: str, elements: Iterable[tuple[Element, str]]) -> Iterator[str]:
    by_set: dict[str, list[str]] = {}
    for (name, key), value in elements:
        by_set.setdefault(name, []).append(_written(key, value))
    for name, keys in by_set.items():
        yield f"{verb} element {_TABLE} {name} {{ {', '.join(keys)} }}"


def _written(key: str, value: str) -> str:
    if not value:
        return key
    return f"{key} {value}" if value.startswith("comment") else f"{key} : {value}"
