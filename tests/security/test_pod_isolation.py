"""What a pod of each kind gets away with on its node is exactly what the page says."""

from __future__ import annotations

import pytest

from tests.security.pod_isolation import ATTEMPTS, KINDS, rows

pytestmark = pytest.mark.root
# The default set of capabilities, within the pod's own namespaces.
_HARMLESS = {"send raw packets", "change owners of its own files"}
_PLAIN = _HARMLESS | {"be root of the node outside of its namespaces", "make a device node"}
SUCCEEDS = {
    "plain": _PLAIN | {"make a user namespace"},
    "seccomp RuntimeDefault": _PLAIN,
    "hostUsers false": _HARMLESS | {"make a user namespace"},
    "restricted": set[str](),
    # In a machine of a lab some of these meet the machine's own bounds.
    "privileged": set(ATTEMPTS) - {"see the node's processes"},
}


def test_no_kind_of_pod_gets_away_with_more() -> None:
    measured = rows()
    for number, kind in enumerate(KINDS, 1):
        found = {row[0] for row in measured if row[number] == "succeeds"}
        assert found == SUCCEEDS[kind], kind
