"""The tests' watch over event loops (tests/security/loopwatch.py) sees what holds a loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.security.loopwatch import Seen, watched

_PROGRAM = """
import asyncio, os, sys, time

def spin(times):
    value = 1
    for _ in range(32_000 * times):
        value = value * 3 & 0xFFFF

async def main():
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async for line in lines:
        match line.decode().split():
            case ["whole", times]:
                spin(int(times))
            case ["pieces", times]:
                for _ in range(int(times)):
                    spin(1)
                    await asyncio.sleep(0)
            case ["blocked"]:
                time.sleep(0.2)
        print("done", flush=True)

print("ready", flush=True)
asyncio.run(main())
"""


def _ask(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin and process.stdout
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    process.stdout.readline()


def test_a_turn_that_works_in_one_piece_is_told_from_one_in_pieces(tmp_path: Path) -> None:
    with watched(tmp_path) as watch:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    with process:
        assert process.stdout
        process.stdout.readline()
        _ask(process, "whole 1")
        loop = watch.of(process.pid)
        seen = {}
        for line in ("whole 100", "pieces 100", "blocked"):
            with loop.during() as seen[line]:
                _ask(process, line)
                _ask(process, "nothing")
        assert process.stdin
        process.stdin.close()
    whole, pieces, blocked = seen.values()
    assert whole.longest > 50
    assert pieces.longest < whole.longest / 2
    assert pieces.turns > 100
    assert blocked.longest > 20


def test_what_no_loop_did_is_no_hold() -> None:
    assert Seen().longest == 0.0
    assert Seen().share == 0.0
    assert Seen(3, 10.0, (5.0, 1.0)).share == 0.5
    assert Seen(3, 10.0, (5.0, 1.0)).longer_than(2) == 1
