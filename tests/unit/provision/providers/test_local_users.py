"""Which users of the host a machine's are."""

from __future__ import annotations

from itertools import pairwise

import pytest

from provision.providers.local.users import COUNT, FIRST, user_base

MANY = [f"w{n}" for n in range(1, 401)]


def test_no_two_machines_of_a_lab_share_a_user() -> None:
    bases = sorted(user_base("big", MANY, name) for name in MANY)
    assert all(later - earlier >= COUNT for earlier, later in pairwise(bases))


def test_they_lie_where_systemd_puts_containers() -> None:
    for name in MANY:
        base = user_base("big", MANY, name)
        assert base >= FIRST and base + COUNT <= 1_879_048_192
        assert base % COUNT == 0


def test_workers_that_are_added_change_nobodys() -> None:
    few = ["m1", "w1", "w2"]
    before = {name: user_base("a", few, name) for name in few}
    assert {name: user_base("a", [*few, "w3"], name) for name in few} == before
    with pytest.raises(ValueError, match="w9"):
        user_base("a", few, "w9")
