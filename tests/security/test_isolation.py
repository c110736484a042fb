"""The isolation table: an ordinary pod gets nowhere, a machine no further than the page says."""

from __future__ import annotations

import pytest

from provision.providers.local import checks
from tests.security.tables.isolation import a_lab, measured

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(600)]

# A machine's own network is its own. The last two are open on any kernel that is shared without a
# user namespace, as long as there are no mandatory rules: docs/security.md says so.
HARMLESS = "write `net.*` of its own network"
OPEN_TO_MACHINES = {
    HARMLESS,
    "open `/proc/sysrq-trigger` of a `/proc` mounted anew",
    "open the kernel's settings in a `/sys` mounted anew",
}


def test_who_gets_how_far() -> None:
    with a_lab(own_users=False) as lab:
        found = measured(lab)
    through = [{what for what, cells in found.items() if cells[i]} for i in range(3)]
    machine, privileged, ordinary = through
    assert ordinary == set()
    assert machine <= OPEN_TO_MACHINES
    assert privileged <= OPEN_TO_MACHINES


@pytest.mark.skipif(bool(checks.users_lacking()), reason=checks.users_lacking())
def test_with_users_of_its_own_a_machine_gets_nowhere() -> None:
    with a_lab(own_users=True) as lab:
        found = measured(lab)
    for what, cells in found.items():
        if what != HARMLESS:
            assert not any(cells), what
