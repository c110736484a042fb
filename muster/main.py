"""`muster`: the command line. Thin: it parses, calls `provision`, and prints.

Every import of `provision` is made by the command that needs it, so that `muster --help` and
completion answer at once.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import click

EXIT_CODES = """\b
Exit codes:
  0    done (also: nothing to do; drill passed)
  1    anything else went wrong (drill: failed)
  2    wrong usage, or a lab file that is malformed (drill: nothing ran)
  3    conflict: the lab, its name or subnet is taken or busy (drill: warnings)
  4    no such lab or machine
  5    this host lacks something
  6    the provider failed with a machine
  7    a machine does not answer over SSH
  8    a machine could not be provisioned
  9    nodes were not Ready in time
  10   the kubeconfig cannot be read or written
  130  interrupted by Ctrl-C, after cleaning up
  143  terminated, after cleaning up
"""

# Command: module and attribute. Loaded when called.
COMMANDS = {
    "up": ("muster.lab", "up"),
    "down": ("muster.lab", "down"),
    "prune": ("muster.lab", "prune"),
    "status": ("muster.status", "status"),
    "ssh": ("muster.remote", "ssh"),
    "exec": ("muster.remote", "exec_"),
    "cp": ("muster.remote", "cp"),
    "ssh-config": ("muster.remote", "ssh_config"),
    "node": ("muster.status", "node"),
    "stop": ("muster.lab", "stop"),
    "start": ("muster.lab", "start"),
    "kubeconfig": ("muster.lab", "kubeconfig"),
    "image": ("muster.image", "image"),
    "drill": ("muster.drill", "drill"),
    "logs": ("muster.machines", "logs"),
    "dashboards": ("muster.dashboards", "dashboards"),
    "kv": ("muster.kv", "kv"),
    "doctor": ("muster.doctor", "doctor"),
    "version": ("muster.about", "version"),
    "completion": ("muster.about", "completion"),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if near and args[0] not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f'no such command "{args[0]}": did you mean "{near[0]}"?')
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from kube.component.version import GIT_VERSION

        click.echo(f"muster {GIT_VERSION}")
        context.exit()


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Muster: a multi-node Kubernetes lab that you may break on purpose."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Errors are printed here, and nowhere else."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # also while modules are imported, and while errors are printed
        click.echo("interrupted", err=True)
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    from muster.console import complain
    from muster.session import Interrupted, translated
    from provision.errors import ProvisionError

    try:
        with translated():
            code = cli.main(args=arguments, prog_name="muster", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ProvisionError as error:
        return complain(error)
    except Interrupted as error:
        click.echo("interrupted", err=True)
        return error.exit_code
    except click.Abort:
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; say nothing more, also not while Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """A fault of ours. Its traceback is for a report, not for the terminal."""
    if os.environ.get("MUSTER_DEBUG"):
        raise error
    click.echo(
        f"error: {type(error).__name__}: {error}\n"
        "  this is a fault in muster; MUSTER_DEBUG=1 shows where",
        err=True,
    )
    return 1
