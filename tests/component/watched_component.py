"""A component for test_watchdog: it serves, tells a child's environment, and spins on SIGUSR1."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import NoReturn

from kube.component.run import notify_ready, run


def spin_for_ever() -> NoReturn:
    while True:
        pass


async def serve(_config: None, stop: asyncio.Event) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, spin_for_ever)
    child = await asyncio.create_subprocess_exec("env")
    await child.wait()
    notify_ready("watched")
    await stop.wait()


if __name__ == "__main__":
    sys.exit(run(serve, None, "watched"))
