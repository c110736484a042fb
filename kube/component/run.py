"""The frame of every process: logging, signals, readiness, watchdog, exit code. Read it once."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kube.component.failure import CannotRun
from kube.component.log import configure, get_logger
from kube.component.openfiles import raise_limit
from kube.component.version import GIT_VERSION

log = get_logger(__name__)
# What systemd says is for this process alone: a child that inherits the variables may take itself
# for the service (an OCI runtime then waits for its container to announce itself).
_NOTIFY_SOCKET = os.environ.pop("NOTIFY_SOCKET", "")
_WATCHDOG_USEC = os.environ.pop("WATCHDOG_USEC", "")
_WATCHDOG_PID = os.environ.pop("WATCHDOG_PID", "")
ConfigT = TypeVar("ConfigT")
Serve = Callable[[ConfigT, asyncio.Event], Awaitable[None]]


def run(serve: Serve[ConfigT], config: ConfigT, name: str) -> int:
    """Run `serve` until SIGTERM or SIGINT sets its stop event. Returns the exit code.

    An exception out of `serve` is logged with its traceback (CannotRun by its message alone) and
    gives exit code 1, so that systemd's `Restart=on-failure` starts the process again.
    """
    configure()
    if not faulthandler.is_enabled():  # -X faulthandler or a test runner may have chosen a file
        # Also for SIGABRT, by which systemd's watchdog ends us: the journal then names the culprit.
        faulthandler.enable()
    raise_limit()
    log.info("starting", component=name, version=GIT_VERSION, pid=os.getpid())
    try:
        asyncio.run(_until_signalled(serve, config))
    except Exception as error:
        cause = _for_the_operator(error)
        if cause is not None:
            log.error("cannot run", component=name, error=str(cause))
        else:
            log.exception("component failed", component=name)
        return 1
    log.info("stopped", component=name)
    return 0


def _for_the_operator(error: BaseException) -> CannotRun | None:
    """The failure that the operator must mend, also out of a task group."""
    if isinstance(error, CannotRun):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_for_the_operator, error.exceptions)), None)
    return None


async def _until_signalled(serve: Serve[ConfigT], config: ConfigT) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, stop.set)
    await serve(config, stop)


def notify_ready(status: str = "") -> None:
    """Tell systemd (`Type=notify`, sd_notify(3)) that this process serves. No-op elsewhere.

    Its watchdog is fed from here on, by the running loop. Not earlier: the first feed would start
    the clock, and a store that restores a large state before it serves may be silent for long.
    """
    _notify("READY=1" + (f"\nSTATUS={status}" if status else ""))
    every_seconds = feeding_seconds(_WATCHDOG_USEC, _WATCHDOG_PID, os.getpid())
    if every_seconds is not None:
        _feed_watchdog(asyncio.get_running_loop(), every_seconds)


def feeding_seconds(usec: str, watched_pid: str, own_pid: int) -> float | None:
    """How often to feed the watchdog (sd_watchdog_enabled(3)); None: nobody watches this process.

    Half the interval is asked for. More often, a stall of two thirds of it costs nothing either.
    """
    if watched_pid not in ("", str(own_pid)) or not usec.isdecimal() or int(usec) == 0:
        return None
    return int(usec) / 1e6 / 4


def _feed_watchdog(loop: asyncio.AbstractEventLoop, every_seconds: float) -> None:
    """Tell systemd again and again that the loop turns: one that is blocked falls silent."""
    loop.call_later(every_seconds, _feed_watchdog, loop, every_seconds)
    try:
        # Never waits: a manager that is slow to read must not hold up the loop.
        _notify("WATCHDOG=1", socket.MSG_DONTWAIT)
    except OSError as error:
        log.warning("systemd's watchdog not reached", error=str(error))


def _notify(message: str, flags: int = 0) -> None:
    address = _NOTIFY_SOCKET
    if not address:
        return
    # A leading @ names the abstract namespace, which the kernel spells with a NUL byte.
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(target)
        sock.sendall(message.encode(), flags)
