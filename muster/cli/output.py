"""`-o table|wide|json|yaml|name`: the same rows in the form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click
import yaml
from rich.table import Table
from rich.text import Text

from muster.cli.console import stdout

FORMATS = ("table", "wide", "json", "yaml", "name")
Column = tuple[str, Callable[[dict[str, Any]], object]]


def option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `-o` to a command, as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="The form of the output.",
    )(function)


def show(
    output: str,
    document: object,
    rows: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    wide: Sequence[Column] = (),
) -> None:
    """Print `document` as JSON or YAML, or `rows` as a table or as names."""
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
    elif output == "name":
        for row in rows:
            click.echo(row["name"])
    else:
        stdout().print(_table(rows, [*columns, *(wide if output == "wide" else ())]))


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    for title, _ in columns:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(value(row))) for _, value in columns))
    return table
