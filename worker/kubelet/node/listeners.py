"""The ports that processes of this node listen on, read from /proc/net."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

from worker.kubelet.pod.admission import HostPort

_NET = Path("/proc/net")
_LISTEN, _UNCONNECTED = "0A", "07"
_FILES = (("tcp", "TCP", _LISTEN), ("tcp6", "TCP", _LISTEN),
          ("udp", "UDP", _UNCONNECTED), ("udp6", "UDP", _UNCONNECTED))  # fmt: skip


def listeners(net: Path = _NET) -> tuple[HostPort, ...]:
    """Everything that somebody could reach on this node. Loopback counts: hostPorts reach it."""
    return tuple(dict.fromkeys(_read(net)))


def _read(net: Path) -> Iterator[HostPort]:
    for name, protocol, state in _FILES:
        try:
            rows = (net / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == state:
                address, _, port = fields[1].partition(":")
                yield HostPort(protocol, int(port, 16), _address(address))


def _address(text: str) -> str:
    """`0100007F` as 127.0.0.1: the words are in the machine's order. "" for every address."""
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    packed = b"".join(words)
    if not any(packed):
        return ""
    if len(packed) == 4:
        return socket.inet_ntoa(packed)
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
