"""Sorting in slices gives what sorting at once gives."""

from __future__ import annotations

import random

import pytest

from master.kvstore.mvcc.sorting import sorted_gently


@pytest.mark.parametrize("count", [0, 1, 9_999, 20_000, 45_001])
@pytest.mark.parametrize("spread", [1 << 8, 1 << 40])
def test_the_order_is_that_of_sorted(count: int, spread: int) -> None:
    rng = random.Random(count)
    names = [b"%d" % rng.randrange(spread) for _ in range(count)]
    assert sorted_gently(names) == sorted(names)
    assert sorted_gently(sorted(names)) == sorted(names)
