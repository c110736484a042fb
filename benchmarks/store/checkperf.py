"""`etcdctl check perf` against three members over mutual TLS: etcd's own pass or fail."""

from __future__ import annotations

import os
import re
import subprocess

from benchmarks.store.clusters import PROGRAMS, Cluster
from benchmarks.store.figures import Figures, Line

_THROUGHPUT = re.compile(r"(\d+) writes/s")
_SLOWEST = re.compile(r"[Ss]lowest request took (?:too long: )?([\d.]+)s")
_VERDICT = re.compile(r"^(PASS|FAIL)(?::.*)?$", re.MULTILINE)


def run(both: dict[str, Cluster], sizes: tuple[str, ...], figures: Figures) -> None:
    for size in sizes:
        for program in PROGRAMS:
            _check(both[program], size, figures)


def _check(cluster: Cluster, size: str, figures: Figures) -> None:
    tls = cluster.members[0].tls
    assert tls is not None
    endpoints = ",".join(member.url(member.client_port) for member in cluster.members)
    done = subprocess.run(
        ["etcdctl", f"--endpoints={endpoints}", f"--cacert={tls.ca}", f"--cert={tls.cert}",
         f"--key={tls.key}", "check", "perf", f"--load={size}", "--auto-compact"],
        env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [match[0] for match in _VERDICT.finditer(done.stdout.replace("\r", "\n"))]
    name = f"etcdctl check perf --load={size}, mTLS"
    throughput, slowest = _THROUGHPUT.search(done.stdout), _SLOWEST.search(done.stdout)
    if throughput:
        figures.add(Line(name, "writes/s"), cluster.program, float(throughput[1]))
    if slowest:
        line = Line(name, "s, slowest request", more_is_better=False)
        figures.add(line, cluster.program, float(slowest[1]))
    figures.note(f"{cluster.program}, {name}: {'; '.join(said) or done.stdout + done.stderr}")
