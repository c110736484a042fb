"""Cuts the edit of one table into sections, each from `*table` to its COMMIT. Pure.

iptables-restore with the nft back end notes every chain that a section names in a sorted list,
which it walks for each rule and each jump: a section of 11,000 chains took 11 s of CPU, the same
chains in sections of 200 take 0.7 s. The legacy back end copies the whole table at each COMMIT,
so it gets everything in one.

A section is one transaction. Cut up, the rules are right between any two of them all the same:
a service's own chains come together and before the chains that lead to them, and what is removed
goes last, when nothing leads there any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as concatenated

from worker.proxy import names

Rules = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Chains to write anew and chains to remove, in one table."""

    write: Mapping[str, Rules]
    remove: tuple[str, ...] = ()


def sections(table: str, edit: Edit, single: Sequence[str], most: int) -> Iterator[str]:
    """The lines of all sections. `single` are rules in chains that are not ours; a section holds
    about `most` chains, or all of them with 0."""
    if not most or len(edit.write) + len(edit.remove) <= most:
        yield from _section(table, edit, single)
        return
    own = [chain for chain in edit.write if names.is_of_service(chain)]
    fixed = [chain for chain in edit.write if not names.is_of_service(chain)]
    # No service's chain can do without this one, and it needs no other.
    first = [chain for chain in fixed if chain == names.MARK_MASQ]
    last = [chain for chain in fixed if chain != names.MARK_MASQ]
    for chains in filter(None, (first, *_packed(_whole_services(own), most))):
        yield from _section(table, _part(edit, chains))
    if last or single:
        yield from _section(table, _part(edit, last), single)
    going = sorted(edit.remove, key=names.depth)
    for start in range(0, len(going), most):
        yield from _section(table, Edit({}, tuple(going[start : start + most])))


def _part(edit: Edit, chains: Iterable[str]) -> Edit:
    return Edit({chain: edit.write[chain] for chain in chains})


def _whole_services(chains: Iterable[str]) -> Iterator[list[str]]:
    """A service port's chains stand together, those of its endpoints last."""
    group: list[str] = []
    for chain in chains:
        if group and names.is_endpoint(group[-1]) and not names.is_endpoint(chain):
            yield group
            group = []
        group.append(chain)
    yield group


def _packed(groups: Iterable[list[str]], most: int) -> Iterator[list[str]]:
    pack: list[str] = []
    for group in groups:
        if pack and len(pack) + len(group) > most:
            yield pack
            pack = []
        pack = pack + group
    yield pack


def _section(table: str, edit: Edit, single: Sequence[str] = ()) -> Iterator[str]:
    yield f"*{table}"
    # Naming a chain makes it, or empties it. All before the first rule: rules name chains.
    for chain in (*edit.write, *edit.remove):
        yield f":{chain} - [0:0]"
    yield from single
    yield from concatenated.from_iterable(edit.write.values())
    for chain in edit.remove:
        yield f"-X {chain}"
    yield "COMMIT"
