"""`python -m benchmarks.snapshot`: what snapshots and restarts of a large store cost, beside etcd.

One file is made and given to both. Times are of the processor, not of the clock: other work on the
machine changes them little. Memory is what the process holds when it has answered its first put.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from master.kvstore import restore, state
from master.kvstore.machine import Machine
from master.kvstore.raft.messages import SnapshotMeta
from master.kvstore.wal.snapshot import SnapshotDirectory

_OPS = 128  # keys in one transaction
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Started:
    processor_seconds: float
    memory_mb: int


def filled(keys: int, value_bytes: int) -> Machine:
    machine = Machine()
    value = b"x" * value_bytes
    for start in range(0, keys, _OPS):
        txn = machine.mvcc.begin()
        for number in range(start, min(keys, start + _OPS)):
            txn.put(b"/registry/things/ns%04d/name-%08d" % (number % 1000, number), value, 0)
        txn.end()
    return machine


def written(machine: Machine, directory: Path) -> Path:
    """Prints what capturing, writing and loading cost. The file."""
    meta = SnapshotMeta(1, 1)
    times = [time.process_time()]
    captured = state.capture(machine, meta)
    times.append(time.process_time())
    path = SnapshotDirectory(directory).save(meta, state.plan(captured).pages())
    times.append(time.process_time())
    state.load(path)
    times.append(time.process_time())
    capture, write, load = (after - before for before, after in pairwise(times))
    print(f"file            {path.stat().st_size / 1e6:8.0f} MB")
    print(f"capture         {capture * 1000:8.1f} ms")
    print(f"plan and write  {write:8.2f} s")
    print(f"check and load  {load:8.2f} s")
    return path


def restore_ours(file: Path, data_dir: Path, peer: str) -> None:
    restore.restore(file, data_dir, "default", {"default": (peer,)}, "etcd-cluster")


def restore_etcd(file: Path, data_dir: Path, peer: str) -> None:
    subprocess.run(
        ["etcdctl", "snapshot", "restore", str(file), "--data-dir", str(data_dir),
         "--initial-cluster", f"default={peer}", "--initial-advertise-peer-urls", peer],
        check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"},
    )  # fmt: skip


def started(program: Sequence[str], data_dir: Path, client: str, peer: str) -> Started:
    """Start one member on what was restored, until it has taken a put."""
    command = [
        *program, "--data-dir", str(data_dir), "--initial-cluster", f"default={peer}",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
    ]  # fmt: skip
    with Path(f"{data_dir}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        while not _put(client):
            if process.poll() is not None:
                raise SystemExit(f"{program[0]} ended: {Path(f'{data_dir}.log').read_text()}")
            time.sleep(0.05)
        return _usage(process.pid)
    finally:
        process.terminate()
        process.wait()


def _put(client: str) -> bool:
    done = subprocess.run(
        ["etcdctl", f"--endpoints={client}", "--command-timeout=1s", "put", "a", "b"],
        capture_output=True, env={**os.environ, "ETCDCTL_API": "3"},
    )  # fmt: skip
    return done.returncode == 0


def _usage(pid: int) -> Started:
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return Started(sum(map(int, times)) / _TICKS, round(memory / 1e6))


def _free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.snapshot", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value-bytes", type=int, default=20)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bench-snapshot-") as scratch:
        directory = Path(scratch)
        file = written(filled(options.keys, options.value_bytes), directory)
        ours = (sys.executable, "-m", "master.kvstore")
        for name, program, make in (
            ("ours", ours, restore_ours),
            ("etcd", ("etcd",), restore_etcd),
        ):
            client, peer = _free_url(), _free_url()
            make(file, directory / name, peer)
            used = started(program, directory / name, client, peer)
            print(f"start, {name}     {used.processor_seconds:8.2f} s, {used.memory_mb} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
