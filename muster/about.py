"""`muster version` and `muster completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from muster import output


@click.command()
@output.option
def version(output: str) -> None:
    """Show the version that every component reports."""
    from kube.component.version import GIT_VERSION, version_info
    from muster.output import show

    if output in ("table", "wide"):
        click.echo(f"muster {GIT_VERSION}")
        return
    show(output, version_info(), [{"name": GIT_VERSION}], ())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script: `source <(muster completion bash)`."""
    from muster.main import cli

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "muster", "_MUSTER_COMPLETE").source())
