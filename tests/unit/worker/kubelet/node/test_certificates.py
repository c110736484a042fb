"""The expiry date, against what cryptography reads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provision.pki.authority import LeafRequest, issue, new_authority
from worker.kubelet.node.certificates import not_after


@pytest.mark.parametrize("year", [2026, 2049, 2051])
def test_the_date_of_a_leaf_and_of_its_authority(year: int) -> None:
    """From 2050 on the date has another ASN.1 type."""
    now = datetime(year, 5, 6, 7, 8, 9, tzinfo=UTC)
    authority = new_authority("ca", now)
    leaf = issue(authority, LeafRequest("system:node:w1", ("system:nodes",), server=True), now)
    for pair in (authority, leaf):
        assert not_after(pair.cert.decode()) == pair.certificate.not_valid_after_utc


def test_a_kubeconfigs_chain_gives_the_first() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority = new_authority("ca", now)
    leaf = issue(authority, LeafRequest("a"), now)
    chain = "text before\n" + leaf.cert.decode() + authority.cert.decode()
    assert not_after(chain) == leaf.certificate.not_valid_after_utc


def test_no_certificate() -> None:
    with pytest.raises(ValueError, match="no certificate"):
        not_after("hello")
