"""A name that must resolve, by this host or by a server that is named."""

from __future__ import annotations

import asyncio
import secrets
import struct
from typing import Annotated

from msgspec import Meta

from drills.lab import DrillLab
from drills.probes.base import Probe

A, IN = 1, 1


class Dns(Probe, frozen=True, kw_only=True, tag="dns"):
    """A name that must resolve to an IPv4 address."""

    host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,253}$", description="The name.")]
    server: Annotated[str, Meta(description="Its address; left out: this host's resolver.")] = ""

    async def ask(self, lab: DrillLab) -> str:
        loop = asyncio.get_running_loop()
        if not self.server:
            await loop.getaddrinfo(self.host, None)
            return ""
        question = query(secrets.randbelow(1 << 16), self.host)
        transport, protocol = await loop.create_datagram_endpoint(
            _Answer, remote_addr=(self.server, 53)
        )
        try:
            transport.sendto(question)
            return verdict(question, await protocol.received)
        finally:
            transport.close()


class _Answer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.received.done():
            self.received.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.received.done():
            self.received.set_exception(exc)


def query(number: int, name: str) -> bytes:
    """A question for the A records of `name` (RFC 1035, section 4)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split("."))
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, A, IN)


def verdict(question: bytes, answer: bytes) -> str:
    """ "" when `answer` has records for `question`."""
    if len(answer) < 12 or answer[:2] != question[:2]:
        return "the answer is to another question"
    _, flags, _, answers = struct.unpack(">4H", answer[:8])
    if code := flags & 0xF:
        return {2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}.get(code, f"error {code}")
    return "" if answers else "no address"
