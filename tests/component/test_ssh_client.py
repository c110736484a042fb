"""The SSH client against a real sshd on loopback: output, exit status, files, and wrong keys."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from provision.errors import MachineUnreachable
from provision.providers.base import SshTarget
from provision.ssh import Connection, connect, over_ssh
from provision.ssh.client import wait_reachable
from provision.ssh.keys import ensure_key, write_known_hosts
from provision.ssh.openssh import alias, config, copy, login
from tests.component.kvstore_harness import free_ports

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and sshd"
)


@dataclass
class Sshd:
    target: SshTarget
    directory: Path


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    directory = tmp_path_factory.mktemp("sshd")
    client, host = directory / "client", directory / "host"
    ensure_key(client, "test")
    ensure_key(host, "host")
    shutil.copy(client.with_suffix(".pub"), directory / "authorized")
    port = free_ports(1)[0]
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = directory / "config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {directory}/authorized\nPidFile none\nPermitRootLogin yes\n"
    )
    process = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL
    )
    public = " ".join(host.with_suffix(".pub").read_text().split()[:2])
    target = SshTarget("127.0.0.1", port, "root", client, public)
    try:
        asyncio.run(wait_reachable(target, "m1", 60))
        yield Sshd(target, directory)
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_a_command_gives_its_output_and_status(sshd: Sshd) -> None:
    with connect(sshd.target, "m1") as connection:
        done = connection.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
        assert (done.status, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
        assert connection.run(["printf", "%s|", "a b", "$HOME", "'"]).text == "a b|$HOME|'|"


def test_much_on_both_streams_arrives_whole(sshd: Sshd) -> None:
    script = "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait"
    with connect(sshd.target, "m1") as connection:
        done = connection.run(["sh", "-c", script])
    assert (len(done.stdout), len(done.stderr)) == (3_000_000, 3_000_000)


def test_a_file_arrives_whole_or_not_at_all(sshd: Sshd) -> None:
    source, place = sshd.directory / "source", sshd.directory / "placed file"
    source.write_bytes(os.urandom(1_000_000))
    with connect(sshd.target, "m1") as connection:
        connection.put(source, str(place))
        assert place.read_bytes() == source.read_bytes()
        with pytest.raises(MachineUnreachable, match="could not write"):
            connection.put(source, "/nonexistent/place")


def test_a_changed_host_key_is_refused_at_once(sshd: Sshd) -> None:
    other = sshd.directory / "other"
    ensure_key(other, "other")
    public = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    begin = time.monotonic()
    with pytest.raises(MachineUnreachable, match=r"m1 .* shows another host key"):
        asyncio.run(wait_reachable(replace(sshd.target, host_key=public), "m1", 1000))
    assert time.monotonic() - begin < 100  # the deadline is not waited for


def test_a_key_that_the_machine_does_not_know_is_named(sshd: Sshd) -> None:
    stranger = sshd.directory / "stranger"
    ensure_key(stranger, "stranger")
    with (
        pytest.raises(MachineUnreachable, match="does not accept the lab's SSH key"),
        connect(replace(sshd.target, key_file=stranger), "m1"),
    ):
        pass


def test_a_machine_that_is_not_there_is_named_with_its_address() -> None:
    port = free_ports(1)[0]
    target = SshTarget("127.0.0.1", port, "root", Path("/nonexistent"), "ssh-ed25519 AAAA")
    key = Path("/nonexistent")
    assert not key.exists()
    with pytest.raises(MachineUnreachable) as caught, connect(_plausible(target), "w1", 2):
        pass
    assert f"w1 ([127.0.0.1]:{port}) does not answer" in caught.value.message
    assert "muster node" in caught.value.hint


def _plausible(target: SshTarget) -> SshTarget:
    """With a host key that parses."""
    encoded = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    return replace(target, host_key=f"ssh-ed25519 {encoded}")


def test_openssh_accepts_the_pinned_known_hosts(sshd: Sshd) -> None:
    known = sshd.directory / "known_hosts"
    write_known_hosts(known, [sshd.target])
    command = [
        "ssh", "-F", "none", "-p", str(sshd.target.port), "-i", str(sshd.target.key_file),
        "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes",
        "-o", "BatchMode=yes", "root@127.0.0.1", "true",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


async def test_waiting_for_a_machine_ends_when_it_is_interrupted(sshd: Sshd) -> None:
    """Ctrl-C while machines boot: no thread may hold the command up to the deadline."""
    nobody = replace(sshd.target, port=free_ports(1)[0])
    threads = threading.active_count()
    waiting = asyncio.create_task(wait_reachable(nobody, "m1", 3600))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 60)
    assert threading.active_count() <= threads


async def test_interrupting_work_breaks_its_connection(sshd: Sshd) -> None:
    running = threading.Event()

    def work(connection: Connection) -> int:
        return connection.stream(
            ["sh", "-c", "echo on; sleep 3600"], lambda _: running.set(), bytes
        )

    task = asyncio.create_task(over_ssh(sshd.target, "m1", work))
    assert await asyncio.to_thread(running.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 60)


def test_openssh_passes_input_output_terminal_and_status(sshd: Sshd) -> None:
    known, place = sshd.directory / "known", sshd.directory / "config-client"
    write_known_hosts(known, [sshd.target])
    place.write_text(config("lab", {"m1": sshd.target}, known))
    host = alias("lab", "m1")

    def ssh(*flags: str, line: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        command = login(place, host, sshd.target, [line], flags)
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
        return done.returncode, done.stdout, done.stderr

    data = os.urandom(300_000)
    assert ssh(line="cat; echo err >&2; exit 7", stdin=data) == (7, data, b"err\n")
    assert ssh("-tt", line="tty")[1].startswith(b"/dev/pts/")
    assert ssh("-n", line="cat", stdin=b"unread") == (0, b"", b"")
    source, target = sshd.directory / "from", sshd.directory / "to"
    source.write_bytes(data)
    command = copy(place, "lab", ["m1"], [str(source), f"m1:{target}"])
    # This sshd has no sftp subsystem, which machines have: -O takes scp's own protocol.
    done = subprocess.run([command[0], "-O", *command[1:]], check=False, timeout=60)
    assert (done.returncode, target.read_bytes()) == (0, data)
