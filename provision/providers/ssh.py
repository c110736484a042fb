"""Whether a machine answers SSH yet, whatever provider it came from."""

from __future__ import annotations

import asyncio
import contextlib

from provision.providers.base import ProviderError, SshTarget

_POLL_SECONDS = 0.5


async def wait_for_ssh(name: str, target: SshTarget, seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await greets(target.host, target.port):
        if asyncio.get_running_loop().time() > deadline:
            raise ProviderError(
                f'machine "{name}" does not answer SSH on {target.host}:{target.port} '
                f"after {seconds:.0f} s",
                "look at its console, and at firewalls in between",
            )
        await asyncio.sleep(_POLL_SECONDS)


async def greets(host: str, port: int = 22) -> bool:
    """Whether an SSH server answers with its version (RFC 4253, section 4.2)."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.read(4)).startswith(b"SSH")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


async def scan_host_key(name: str, host: str, port: int) -> str:
    """The ed25519 host key that a machine shows (ssh-keyscan(1)): trust on first use."""
    process = await asyncio.create_subprocess_exec(
        *("ssh-keyscan", "-t", "ed25519", "-T", "30", "-p", str(port), host),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    for line in output.decode().splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[1] == "ssh-ed25519":
            return f"{fields[1]} {fields[2]}"
    raise ProviderError(f'machine "{name}" shows no ed25519 host key on {host}:{port}', "start it")
