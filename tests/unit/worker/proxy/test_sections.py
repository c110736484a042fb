"""A restore cut into transactions: each is accepted, and none names too many chains."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from kube.api.core import Service
from kube.api.discovery import EndpointSlice
from worker.proxy import names
from worker.proxy.endpoints import OwnNode
from worker.proxy.generation import Witness, parsed
from worker.proxy.restore import changes, cleanup, full
from worker.proxy.ruleset import JUMPS, Options, Tables, assemble, render_service

MOST = 20
OPTIONS = Options(cluster_cidr="10.244.0.0/16")


def tables_of(numbers: Iterable[int], first_pod: int = 1) -> Tables:
    rendered = {}
    for number in numbers:
        service = {
            "metadata": {"namespace": "ns", "name": f"s{number}"},
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": f"10.96.0.{number}",
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
                "externalTrafficPolicy": "Local",
                "ports": [{"port": 80, "nodePort": 30000 + number}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": f"203.0.113.{number}"}]}},
        }
        slice_ = {
            "addressType": "IPv4",
            "metadata": {"namespace": "ns", "name": "x"},
            "ports": [{"port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": [f"10.244.{number}.{i}"], "nodeName": "w1"}
                for i in range(first_pod, first_pod + 3)
            ],
        }
        rendered[f"ns/s{number}"] = render_service(
            msgspec.convert(service, Service),
            [msgspec.convert(slice_, EndpointSlice)],
            OwnNode("w1"),
            OPTIONS,
        )
    return assemble(rendered, OPTIONS)


class Strict:
    """Refuses what the kernel refuses: a jump to no chain, the end of a chain in use."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, list[str]]] = {}

    def take(self, text: str) -> list[int]:
        """The number of chains that each transaction named."""
        sizes, table, named = [], self.tables, 0
        for line in text.splitlines():
            verb, _, rest = line.partition(" ")
            if line.startswith("*"):
                table, named = self.tables.setdefault(line[1:], {}), 0
            elif line.startswith(":"):
                table[verb[1:]] = []
                named += 1
            elif verb in ("-A", "-I"):
                table.setdefault(rest.split()[0], []).append(rest)
            elif verb == "-D":
                table[rest.split()[0]].remove(rest)
            elif verb == "-X":
                assert not table.pop(rest)
            else:
                self._validate(table)
                sizes.append(named)
        return sizes

    @staticmethod
    def _validate(table: dict[str, list[str]]) -> None:
        for rules in table.values():
            for rule in rules:
                target = rule.split(" -j ")[1].split()[0] if " -j " in rule else ""
                assert not target.startswith("KUBE-") or target in table, rule


def test_a_large_restore_names_few_chains_at_once_and_is_accepted_at_every_step() -> None:
    kernel, desired = Strict(), tables_of(range(1, 60))
    sizes = kernel.take(full({}, desired, JUMPS, MOST).text)
    assert len(sizes) > 10
    # A service's own chains stay together.
    assert max(sizes) <= MOST
    frozen = {t: {c: tuple(rules) for c, rules in chains.items()} for t, chains in desired.items()}
    ours = {
        table: {
            c: tuple(f"-A {r}" for r in rules) for c, rules in chains.items() if c in frozen[table]
        }
        for table, chains in kernel.tables.items()
    }
    assert ours == frozen


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (tables_of(range(1, 60)), tables_of(range(1, 60), first_pod=3)),
        (tables_of(range(1, 60)), tables_of(range(1, 3))),
        (tables_of(range(1, 60)), tables_of(range(40, 99))),
    ],
    ids=["other-pods", "most-go", "others-come"],
)
def test_large_changes_are_accepted_at_every_step(before: Tables, after: Tables) -> None:
    kernel = Strict()
    kernel.take(changes({}, before).text)
    assert max(kernel.take(changes(before, after, MOST).text)) <= MOST
    for table, chains in after.items():
        assert set(kernel.tables[table]) == set(chains)


def test_all_of_it_goes_in_steps() -> None:
    kernel, desired = Strict(), tables_of(range(1, 60))
    kernel.take(full({}, desired, JUMPS).text)
    saved = {
        table: {c: tuple(f"-A {rule}" for rule in rules) for c, rules in chains.items()}
        for table, chains in kernel.tables.items()
    }
    assert max(kernel.take(cleanup(saved, MOST).text)) <= MOST
    assert not [c for chains in kernel.tables.values() for c in chains if names.is_ours(c)]


def test_what_fits_is_one_transaction_of_a_table() -> None:
    before, after = tables_of(range(1, 60)), tables_of(range(1, 61))
    assert changes(before, after, MOST).text == changes(before, after).text


# -- the kernel's generation


def answer(kind: int, *attributes: bytes) -> bytes:
    body = b"\0" * 4 + b"".join(attributes)
    return (16 + len(body)).to_bytes(4, "little") + kind.to_bytes(2, "little") + b"\0" * 10 + body


ID = b"\x08\0\x01\0" + (77).to_bytes(4, "big")
OTHER = b"\x07\0\x02\0abc\0"


def test_the_generation_is_read_from_the_kernels_answer() -> None:
    assert parsed(answer(10 << 8 | 15, OTHER, ID)) == 77
    for nothing in (b"", answer(2, ID), answer(10 << 8 | 15), answer(10 << 8 | 15, b"\0\0\0\0")):
        assert parsed(nothing) is None


@pytest.mark.parametrize(
    ("known", "before", "after", "own", "read", "then"),
    [
        (None, 5, 8, 3, True, 8),  # read, and only we wrote
        (None, 5, 9, 3, True, None),  # somebody else wrote meanwhile
        (None, 5, 8, 3, False, None),  # never read
        (5, 5, 6, 1, False, 6),
        (4, 5, 6, 1, False, None),  # somebody wrote since
        (None, None, None, 0, True, None),  # no nftables
    ],
)
def test_the_witness_trusts_only_what_was_read_or_written_by_ourselves(
    known: int | None, before: int | None, after: int | None, own: int, read: bool, then: int | None
) -> None:
    witness = Witness(known)
    witness.saw(before, after, own, read=read)
    assert witness.known == then
    assert not witness.unchanged(None)
    assert witness.unchanged(8) is (then == 8)
