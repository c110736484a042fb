"""Pod against node: what pods of each kind get away with, tried in real containers."""

from __future__ import annotations

from tests.security.pod_isolation import KINDS, rows
from tests.security.tables import Table


def table() -> Table:
    return Table(("what a pod tries", *KINDS), rows())
