"""Options that several commands share, and how their values become a lab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _labs(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from provision.errors import ProvisionError
    from provision.state import Store

    try:
        return [CompletionItem(name) for name in Store().names() if name.startswith(text)]
    except ProvisionError:
        return []


def machines(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from provision.errors import ProvisionError
    from provision.state import Store

    try:
        record = Store().find(context.params.get("name") or "default")
    except ProvisionError:
        return []
    machines = record.machines if record else ()
    return [CompletionItem(m.name) for m in machines if m.name.startswith(text)]


def _label(context: click.Context, parameter: click.Parameter, value: str) -> str:
    return value if context.resilient_parsing else checked_name(value)


def checked_name(value: str) -> str:
    """A lab's name is a directory's, too: nothing else may ever be looked at, or removed."""
    from provision.labfile.base import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, value):
        raise click.BadParameter(
            f'"{value}" is no lab\'s name: a DNS label of at most 12 characters'
        )
    return value


def name(function: CommandT) -> CommandT:
    return click.option(
        "--name",
        default="default",
        show_default=True,
        metavar="LAB",
        shell_complete=_labs,
        callback=_label,
        help="Which lab.",
    )(function)


def node(function: CommandT) -> CommandT:
    return click.argument("node", metavar="NODE", shell_complete=machines)(function)


def nodes(function: CommandT) -> CommandT:
    return click.argument(
        "nodes", metavar="NODE...", nargs=-1, required=True, shell_complete=machines
    )(function)


def waiting(function: CommandT) -> CommandT:
    function = click.option(
        "--wait/--no-wait", default=True, help="Wait until the nodes are Ready (default)."
    )(function)
    return timeout(function)


def timeout(function: CommandT) -> CommandT:
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=180.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the nodes.",
    )(function)


def lab_file(function: CommandT) -> CommandT:
    return click.option(
        "-f",
        "--file",
        "file",
        type=click.Path(path_type=Path),
        metavar="LAB.YAML",
        help="The lab file (docs/lab.schema.json).",
    )(function)
