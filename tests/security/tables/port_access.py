"""Who may read which component's own port, asked of running ones with each certificate."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.security.ports_world import KUBELET, PEOPLE, PORTS, STORE, World, world
from tests.security.tables import Table

_KUBELET_PATHS = ("/metrics", "/pods")


def table() -> Table:
    with tempfile.TemporaryDirectory() as images, world(Path(images)) as made:
        components = (*PORTS.items(), ("muster-kvstore", STORE))
        header = (
            "certificate of",
            *(f"{name} {port} /metrics" for name, port in components),
            *(f"kubelet {KUBELET} {path}" for path in _KUBELET_PATHS),
        )
        return Table(header, [_row(made, who) for who in PEOPLE])


def _row(made: World, who: str) -> tuple[str, ...]:
    user, groups = PEOPLE[who]
    shown = f"{who} (`{user}`{' in ' if groups else ''}{', '.join(f'`{g}`' for g in groups)})"
    ports = [*PORTS.values(), STORE]
    answers = [made.ask(port, "/metrics", made.people[who])[0] for port in ports]
    answers += [made.ask(KUBELET, path, made.people[who])[0] for path in _KUBELET_PATHS]
    return (shown, *(str(status) if status else "no connection" for status in answers))
