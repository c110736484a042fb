"""`-o table|wide|json|yaml|name`: the same rows in the form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import yaml

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
        for line in table(rows, [*columns, *(wide if output == "wide" else ())]):
            click.echo(line)


def table(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> Iterator[str]:
    """Aligned columns, never cut: what is piped on must be whole."""
    cells = [[title for title, _ in columns]]
    cells += [[str(value(row)) for _, value in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "   ".join(padded).rstrip()
