"""The members of a run as real processes, and how the harness talks to them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.dial import open_channel
from kube.rpc.names import NGHTTP2
from master.kvstore.failpoint import VARIABLE as FAILPOINT
from master.kvstore.wal.sync import VARIABLE as NOTES
from tests.robustness.network import Network, address_of, relay_address_of
from tests.robustness.powerloss import lose_unsynced
from tests.robustness.programs import Program

CLIENT_PORT = 2379
PEER_PORT = 2380
# A member is unreachable for a moment only.
_IMPATIENT = ChannelOptions(connect_seconds=1.0, backoff_seconds=(0.05, 0.3))


class Member:
    """One member in its own network namespace. `incarnation` counts the starts of its process.
    `relayed`: the others and the clients reach it by the harness's relays."""

    def __init__(
        self,
        slot: int,
        directory: Path,
        network: Network,
        program: Program,
        *,
        relayed: bool = False,
    ) -> None:
        self.slot = slot
        self.name = f"m{slot}"
        self.program = program
        self.network = network
        self.host = relay_address_of(slot) if relayed else address_of(slot)
        self.directory = directory / self.name
        self.directory.mkdir()
        self.incarnation = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.paused = False
        self.id = 0
        self._notes = self.directory / "notes"
        self._notes.mkdir()
        self._channel: Channel | None = None
        self._arguments: tuple[str, ...] = ()

    @property
    def data_dir(self) -> Path:
        return self.directory / "disk" / "data"

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    @property
    def client_url(self) -> str:
        return f"http://{self.host}:{CLIENT_PORT}"

    @property
    def peer_url(self) -> str:
        return f"http://{self.host}:{PEER_PORT}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def channel(self) -> Any:  # typed for none of the generated stubs, though it serves them
        if self._channel is None:
            target = f"{self.host}:{CLIENT_PORT}"
            self._channel = open_channel(target, None, _IMPATIENT, NGHTTP2)
        return self._channel

    async def reconnect(self) -> None:
        """Forget a connection that may hang: the next call dials."""
        if self._channel is not None:
            old, self._channel = self._channel, None
            await old.close()

    def belongs_to(self, initial_cluster: str, state: str = "new") -> None:
        self._arguments = (
            "--initial-cluster", initial_cluster, "--initial-cluster-state", state,
        )  # fmt: skip

    def start(self, failpoint: str = "") -> None:
        self.data_dir.parent.mkdir(exist_ok=True)
        own = address_of(self.slot)
        # The member dies with the harness, whatever ends that.
        command = self.network.inside(
            self.slot, "setpriv", "--pdeathsig", "KILL", *self.program.command,
            "--name", self.name, "--data-dir", str(self.data_dir),
            "--listen-client-urls", f"http://{own}:{CLIENT_PORT}",
            "--advertise-client-urls", self.client_url,
            "--listen-peer-urls", f"http://{own}:{PEER_PORT}",
            "--initial-advertise-peer-urls", self.peer_url,
            *self._arguments,
        )  # fmt: skip
        env = {**os.environ, NOTES: str(self._notes)}
        if failpoint:
            env[FAILPOINT] = failpoint
        with self.log_file.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=self.program.directory, env=env, stdout=out, stderr=subprocess.STDOUT
            )
        self.incarnation += 1

    def kill(self) -> None:
        """As `kill -9`: nothing is flushed, nobody is told."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.paused = False

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        if self.paused and self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def lose_unsynced(self, rng: random.Random) -> str:
        """What a power loss would have taken. The member must be dead; only ours notes it."""
        assert not self.alive
        return lose_unsynced(self.data_dir, self._notes, rng)

    def wipe(self) -> None:
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def struck(self) -> int:
        """How often a fail point was struck in this member's processes."""
        return self.log_file.read_text(errors="replace").count("fail point ")
