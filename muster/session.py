"""From a command to an open lab, and from whatever goes wrong to one of our errors."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import click

from muster.console import ConsoleReporter
from provision.errors import (
    HostNotReady,
    LabConflict,
    LabNotFound,
    MachinesFailed,
    ProvisionError,
)
from provision.providers.base import LabBusy, ProviderError, UnknownMachine, Unprepared

T = TypeVar("T")
INTERRUPTED = 130
TERMINATED = 143


class Interrupted(Exception):
    """The user, or the system, asked us to end; everything is rolled back by now."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. Ctrl-C and SIGTERM cancel the work, once; then it cleans up after itself."""
    with translated():
        return asyncio.run(_cancellable(work))


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    received: list[int] = []

    def cancel(number: int) -> None:
        if received:  # a second cancellation would cut off what the first one cleans up
            click.echo("cleaning up; Ctrl-\\ would end at once and leave the rest", err=True)
            return
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel, number)
    try:
        return await task
    except asyncio.CancelledError:
        code = INTERRUPTED if signal.SIGINT in received else TERMINATED
        raise Interrupted(code) from None


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Providers' errors as ours. Of a group (things failed side by side) the first that we know."""
    try:
        yield
    except ProviderError as error:
        raise _ours(error) from error
    except BaseExceptionGroup as group:
        known = next(_known(group), None)
        if known is None:
            raise
        raise (_ours(known) if isinstance(known, ProviderError) else known) from group


def _known(
    group: BaseExceptionGroup[BaseException],
) -> Iterator[ProviderError | ProvisionError | Interrupted]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _known(error)
        elif isinstance(error, ProviderError | ProvisionError | Interrupted):
            yield error


def _ours(error: ProviderError) -> ProvisionError:
    if isinstance(error, Unprepared):
        lines = "\n".join(f"- {p.text}" for p in error.problems)
        fixes = "\n  ".join(p.fix for p in error.problems if p.fix)
        return HostNotReady(f"this host cannot make the lab:\n{lines}", fixes)
    kind: type[ProvisionError] = MachinesFailed
    if isinstance(error, UnknownMachine):
        kind = LabNotFound
    elif isinstance(error, LabBusy):
        kind = LabConflict
    return kind(error.text, error.fix)


@contextlib.contextmanager
def reporting(*, quiet: bool = False) -> Iterator[ConsoleReporter]:
    reporter = ConsoleReporter(quiet=quiet)
    try:
        yield reporter
    finally:
        reporter.close()


def exit_with(code: int) -> None:
    click.get_current_context().exit(code)
