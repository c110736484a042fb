"""`python -m benchmarks.proxy`: what the proxy's rules cost, beside a bare restore, as root.

A real kube-proxy in a network namespace of its own follows an api-server with 1,000 services of 10
endpoints. Times are of the processor (the proxy's and its tools'), but for the one that says so:
other work on the machine changes them little.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.component.pki_fixture import Pki
from tests.component.proxy_harness import REPO, Api, Netns, api_server

MODES = {
    "iptables-nft": ("--iptables-backend", "nft"),
    "iptables-legacy": ("--iptables-backend", "legacy"),
    "nftables": ("--proxy-mode", "nftables"),
}
ENDPOINTS = 10
CHANGES = 50
_TICK = os.sysconf("SC_CLK_TCK")


def service(number: int) -> dict[str, Any]:
    return {
        "metadata": {"namespace": f"ns{number % 20}", "name": f"svc{number}"},
        "spec": {
            "clusterIP": f"10.96.{number // 250}.{number % 250 + 1}",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def endpoint_slice(number: int, endpoints: int = ENDPOINTS) -> dict[str, Any]:
    addresses = (number * ENDPOINTS + i for i in range(endpoints))
    return {
        "addressType": "IPv4",
        "metadata": {
            "namespace": f"ns{number % 20}",
            "name": f"svc{number}-1",
            "labels": {"kubernetes.io/service-name": f"svc{number}"},
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [f"10.244.{n // 250}.{n % 250 + 1}"], "nodeName": "w1"} for n in addresses
        ],
    }


@dataclass
class Bench:
    netns: Netns
    directory: Path
    address: str
    mode: str

    @asynccontextmanager
    async def running(self, ready: str) -> AsyncIterator[subprocess.Popen[bytes]]:
        """A proxy that has written the rule that contains `ready`."""
        process = subprocess.Popen(
            self.netns.command(*self._argv()), cwd=REPO, stdout=subprocess.DEVNULL
        )
        try:
            await self.until(lambda: ready in self.shown())
            yield process
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)

    def _argv(self) -> list[str]:
        tls = self.directory
        return [
            sys.executable, "-m", "worker.proxy", "--api-servers", self.address,
            "--hostname-override", "w1", "--cluster-cidr", "10.244.0.0/16", *MODES[self.mode],
            "--tls-cert-file", str(tls / "tls.crt"), "--tls-private-key-file",
            str(tls / "tls.key"), "--client-ca-file", str(tls / "ca.crt"),
        ]  # fmt: skip

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(600):
            while not await asyncio.to_thread(done):
                await asyncio.sleep(0.05)

    def shown(self) -> str:
        """What is there last: the chain or map that leads to all others."""
        command = ["iptables-" + self.mode.removeprefix("iptables-"), "-w", "-t", "nat", "-S"]
        command.append("KUBE-SERVICES")
        if self.mode == "nftables":
            command = ["nft", "list", "map", "ip", "kube-proxy", "service-ips"]
        done = subprocess.run(self.netns.command(*command), capture_output=True, text=True)
        return done.stdout

    def restored_bare(self) -> float:
        """The processor time of the tool alone, given the same rules as it prints them."""
        backend = self.mode.removeprefix("iptables-")
        if self.mode == "nftables":
            text, command = self.netns.run("nft", "list", "ruleset"), ["nft", "-f", "-"]
        else:
            text = self.netns.run(f"iptables-{backend}-save")
            command = [f"iptables-{backend}-restore"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # In a fresh namespace: from empty.
        subprocess.run(["unshare", "-n", *command], input=text, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def processor_seconds(process: subprocess.Popen[bytes], *, tools: bool = True) -> float:
    """The process and, unless told otherwise, the tools that it ran."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if tools else 13])) / _TICK


def pss_mb(process: subprocess.Popen[bytes]) -> float:
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def idle(process: subprocess.Popen[bytes], seconds: float = 2.0) -> None:
    """Until the process has done nothing for a while, and runs no tool: a tool's time counts when
    it has ended."""
    tools = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while True:
        before = processor_seconds(process)
        await asyncio.sleep(seconds)
        if processor_seconds(process) - before < 0.03 and not tools.read_text():
            return


async def measured(bench: Bench, api: Api, services: int) -> None:
    ready = "service-ips" if bench.mode == "nftables" else "KUBE-NODEPORTS"
    async with bench.running(ready) as process:
        await idle(process)
        bare_start, bare_memory = processor_seconds(process), pss_mb(process)
    for number in range(services):
        await api.put("services", service(number))
        await api.put("endpointslices", endpoint_slice(number))
    last = f"10.96.{(services - 1) // 250}.{(services - 1) % 250 + 1}"
    began = time.monotonic()
    async with bench.running(last) as process:
        wall = time.monotonic() - began
        await idle(process)
        full = processor_seconds(process) - bare_start
        memory = pss_mb(process)
        bare = bench.restored_bare()
        before, alone = processor_seconds(process), processor_seconds(process, tools=False)
        for number in range(CHANGES):
            await api.put("endpointslices", endpoint_slice(number * 7 % services, ENDPOINTS - 1))
            await asyncio.sleep(0.2)
        await idle(process)
        partial = (processor_seconds(process) - before) / CHANGES
        own = (processor_seconds(process, tools=False) - alone) / CHANGES
        before = processor_seconds(process)
        await asyncio.sleep(65)
        resting = (processor_seconds(process) - before) / 65
    print(f"## {bench.mode}, {services} services of {ENDPOINTS} endpoints")
    print(f"full sync from empty        {full:8.2f} s of processor")
    print(f"bare restore of the same    {bare:8.2f} s of processor")
    print(f"ratio                       {full / bare:8.2f}")
    print(f"process start to all rules  {wall:8.2f} s of time")
    print(f"a change of one service     {partial * 1000:8.1f} ms of processor")
    print(f"  without its tools         {own * 1000:8.1f} ms of processor")
    print(f"at rest                     {resting * 100:8.2f} % of a core")
    print(f"PSS without services        {bare_memory:8.1f} MB")
    print(f"PSS                         {memory:8.1f} MB\n", flush=True)


async def run(modes: Sequence[str], services: int) -> None:
    for mode in modes:
        netns = Netns(f"bench-proxy-{secrets.token_hex(3)}")
        subprocess.run(["ip", "netns", "add", netns.name], check=True)
        try:
            netns.run("ip", "link", "set", "lo", "up")
            with tempfile.TemporaryDirectory(prefix="bench-proxy-") as scratch:
                Pki.create(Path(scratch)).issue("tls")
                async with api_server(Path(scratch)) as (api, address):
                    await measured(Bench(netns, Path(scratch), address, mode), api, services)
        finally:
            subprocess.run(["ip", "netns", "del", netns.name], check=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.proxy", description=__doc__)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--modes", nargs="*", choices=tuple(MODES), default=tuple(MODES))
    options = parser.parse_args(argv)
    if shutil.which("iptables-nft-restore") is None:
        raise SystemExit("iptables is not installed")
    asyncio.run(run(options.modes, options.services))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
