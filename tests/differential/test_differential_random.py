"""Random calls to our store and to stock etcd: the same answers (`python -m tests.differential`
asks for as long as one likes)."""

from __future__ import annotations

import shutil

import pytest

from tests.differential.hunt.compare import Pairs, Tally, shrink
from tests.differential.hunt.generate import THEMES, sequence
from tests.differential.pair import difference

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="needs Debian's etcd-server")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return Pairs(tmp_path_factory.mktemp("random"), members=1)


@pytest.mark.parametrize("theme", sorted({*THEMES}))
def test_random_calls(pairs: Pairs, theme: str) -> None:
    seed = 8 * 1000 + THEMES.index(theme)
    steps = sequence(seed, 60, members=1)
    tally = Tally()
    found = pairs.run(steps, tally)
    if found:
        steps = shrink(steps[: found.number + 1], lambda some: pairs.run(some, Tally()), 12)
        shown = "\n".join(map(str, steps))
        raise AssertionError(f"seed {seed}:\n{difference(found.ours, found.theirs)}\n{shown}")
    assert tally.steps.total() >= 60
    assert tally.codes["OK"] > 10  # else it asked for nonsense only
