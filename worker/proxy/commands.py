"""Runs the tools that change rules: bounded in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

TIMEOUT_SECONDS = 120.0  # 5,000 services on a crowded machine


class RulesError(Exception):
    """A tool refused or did not end; the message names the command and the rule."""


@dataclass(frozen=True, slots=True)
class Output:
    code: int
    stdout: str
    stderr: str


async def execute(
    command: Sequence[str], text: str = "", timeout: float = TIMEOUT_SECONDS
) -> Output:
    """Run a command to its end, or kill it at the timeout."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise RulesError(f"{command[0]} did not start: {error}") from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(text.encode())
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise RulesError(f"{command[0]} did not end within {timeout:g} s") from error
        raise
    return Output(process.returncode or 0, out.decode(), err.decode(errors="replace"))
