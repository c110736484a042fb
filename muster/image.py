"""`muster image load | list`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muster import options, output
from muster.console import stdout
from muster.session import reporting, run

if TYPE_CHECKING:
    from provision.phases.session import Session


@click.group()
def image() -> None:
    """Container images on the lab's machines. No registry is needed."""


@image.command("load")
@click.argument("archives", metavar="ARCHIVE...", nargs=-1, required=True)
@options.name
@click.option("--node", "nodes", metavar="NODE", multiple=True, help="Only there (repeatable).")
def load(archives: tuple[str, ...], name: str, nodes: tuple[str, ...]) -> None:
    """Load image archives (OCI layout, or docker save) on all running machines."""
    from provision.errors import LabFileError
    from provision.phases.images import load_images
    from provision.phases.power import chosen
    from provision.phases.report import Phases
    from provision.phases.session import open_session
    from provision.state import Store

    session = open_session(Store(), name)
    paths = [Path(text) for text in archives]
    for path in paths:
        if not path.is_file():
            raise LabFileError(f'there is no file "{path}"', "give an image archive")
    with reporting() as reporter, Phases(reporter).phase("load images") as step:
        loaded = run(load_images(session, paths, step, chosen(session, nodes)))
    if not loaded:
        stdout().print("every machine has them already")


@image.command("list")
@options.name
@output.option
def list_(name: str, output: str) -> None:
    """Which images are on which machines."""
    from muster.output import show
    from provision.phases.session import open_session
    from provision.state import Store

    found = run(_images(open_session(Store(), name)))
    rows = [{"name": n, "machines": machines} for n, machines in sorted(found.items())]
    columns = (("IMAGE", lambda r: r["name"]), ("MACHINES", lambda r: ",".join(r["machines"])))
    show(output, rows, rows, columns)


async def _images(session: Session) -> dict[str, list[str]]:
    from provision.phases.images import list_on

    async def one(name: str) -> tuple[str, list[str]]:
        target = await session.target(name)
        return name, await list_on(session, target, name)

    found: dict[str, list[str]] = {}
    for name, images in await asyncio.gather(*(one(n) for n in await session.running())):
        for each in images:
            found.setdefault(each, []).append(name)
    return found
