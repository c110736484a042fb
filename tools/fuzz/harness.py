"""What all fuzzers share: seeds, bounds on time and memory, and a supervisor that outlives them.

An episode is a function of one seed: it makes a few inputs, tries them and says how many there
were; a broken rule is an exception. Episodes run in a process of their own, so that a crash of C
code and an endless loop in it are told with their seed, too.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, MutableSequence
from time import monotonic

Episode = Callable[[int], int]

_WARM_INPUTS = 2000
_POLL_SECONDS = 0.5
# A busy machine gives a process at `nice 19` little: an episode's inputs take milliseconds.
_HUNG_SECONDS = 60.0
_MOST_KIB = 64 << 10


def run(episode: Episode, first: int, count: int, place: MutableSequence[int]) -> int:
    """At least `count` inputs, from seed `first` on; returns the next seed. `place` is told
    where it is."""
    seed = first
    tried = 0
    while tried < count:
        place[0] = seed
        try:
            tried += episode(seed)
        except Exception as error:
            raise AssertionError(f"seed={seed}: {error!r}") from error
        place[1] += 1
        seed += 1
    return seed


def main(
    description: str | None, targets: dict[str, Episode], argv: list[str] | None = None
) -> int:
    """`--target` when there are several; all of them one after the other without it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=20_000, help="inputs")
    parser.add_argument("--seed", type=int, default=1, help="of the first episode")
    parser.add_argument("--target", choices=sorted(targets), action="append")
    parser.add_argument("--most-kib", type=int, default=_MOST_KIB, help="of growth in memory")
    arguments = parser.parse_args(argv)
    for name in arguments.target or sorted(targets):
        if not _supervised(name, targets[name], arguments):
            return 1
    return 0


def _supervised(name: str, episode: Episode, arguments: argparse.Namespace) -> bool:
    """Whether the process that does the work ended well, and in time."""
    context = multiprocessing.get_context("fork")
    place: MutableSequence[int] = context.RawArray("q", 2)  # seed, episodes done
    worker = context.Process(target=_work, args=(name, episode, arguments, place))
    worker.start()
    done, since = -1, monotonic()
    while worker.is_alive():
        worker.join(_POLL_SECONDS)
        if place[1] != done:
            done, since = place[1], monotonic()
        elif monotonic() - since > _HUNG_SECONDS:
            print(f"{name}: seed={place[0]}: no end after {_HUNG_SECONDS} s", file=sys.stderr)
            os.kill(worker.pid or 0, signal.SIGABRT)  # faulthandler prints where it is
            worker.join()
            return False
    if worker.exitcode is not None and worker.exitcode < 0:
        print(f"{name}: seed={place[0]}: died of signal {-worker.exitcode}", file=sys.stderr)
    return worker.exitcode == 0


def _work(
    name: str, episode: Episode, arguments: argparse.Namespace, place: MutableSequence[int]
) -> None:
    faulthandler.enable()
    count = arguments.count
    warm = min(_WARM_INPUTS, count // 2)
    try:
        following = run(episode, arguments.seed, warm, place)
        before = _peak_kib()
        run(episode, following, count - warm, place)
    except AssertionError:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    grown = _peak_kib() - before
    print(
        f"{name}: {count} inputs, no violation; memory grew by {grown} KiB "
        f"after the first {warm} (peak {_peak_kib()} KiB)",
        flush=True,
    )
    os._exit(0 if grown <= arguments.most_kib else 1)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
