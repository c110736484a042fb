"""`muster dashboards export`: what Grafana imports."""

from __future__ import annotations

import json
from pathlib import Path

import click

from muster.console import stdout


@click.group()
def dashboards() -> None:
    """Grafana dashboards over a lab's Prometheus."""


@dashboards.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def export(directory: Path) -> None:
    """Write every dashboard to DIRECTORY as JSON, for Grafana to import or to be provisioned with.

    They ask for the lab by a variable: one set serves all labs.
    """
    from provision.dashboards import BOARDS

    directory.mkdir(parents=True, exist_ok=True)
    for board in BOARDS:
        path = directory / f"{board.uid}.json"
        path.write_text(json.dumps(board.document(), indent=2) + "\n")
        stdout().print(f"{path}  {board.title}")
