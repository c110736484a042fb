"""How long the largest bodies, shaped to be slow, hold the api-server's loop."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.component.apiserver_harness import cluster
from tests.component.pki_fixture import Pki
from tests.security.loopwatch import watched
from tests.security.tables import Table
from tests.security.test_bad_input import prepare, send
from tests.security.test_loop_is_free import ATTACKS


def table() -> Table:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pki").mkdir()
        pki = Pki.create(directory / "pki")
        with watched(directory / "watch") as watch, cluster("etcd", directory, pki) as made:
            prepare(made)
            assert made.server.process is not None
            pid = made.server.process.pid
            loop, before = watch.of(pid), _peak(pid)
            for what, row in ATTACKS.items():
                with loop.during() as seen:
                    code, _ = send(made.server, pki, row)
                size = f"{len(row.body) / 1024:.0f}"
                rows.append((what, size, str(code), f"{seen.longest:.0f}", f"{seen.total:.0f}"))
            grown = f"{(_peak(pid) - before) / 1024:.0f} MiB"
    rows.append(("memory: the peak grew by", grown, "", "", ""))
    header = ("body", "KiB", "answer", "longest piece (≈ ms)", "all its work (≈ ms)")
    return Table(header, rows)


def _peak(pid: int) -> int:
    """KiB of resident memory at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
