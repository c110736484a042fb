"""One pair of clusters for this folder, and a table of what was compared at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.component.kvstore_harness import store_cluster
from tests.component.pki_fixture import Pki
from tests.differential.pair import Pair, Tally, lead_by_first

_TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    tally = config.stash[_TALLY]
    if tally.commands:
        terminalreporter.section("our store and stock etcd, 3 members each, mTLS")
        for line in tally.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[_TALLY]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, pki: Pki, tally: Tally) -> Iterator[Pair]:
    """Fresh clusters for each module, both led by m1. They listen without TLS too: some clients
    know none."""
    ours, theirs = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    # The least work: hashes are not what is compared. And nobody shall take a leader that a crowded
    # machine keeps waiting for dead: what is said in an election is not what is compared either.
    flags = ("--bcrypt-cost", "4", "--election-timeout", "3000")
    with (
        store_cluster(ours, pki, 3, *flags, plain=True) as a,
        store_cluster(theirs, pki, 3, *flags, program=("etcd",), plain=True) as b,
    ):
        pair = Pair(a, b, tally)
        pair.each(lead_by_first)
        yield pair
