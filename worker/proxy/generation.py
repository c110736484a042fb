"""The number that the kernel gives each state of this network namespace's nftables.

Every transaction, whoever makes it, counts it up by one. So who finds it as it was knows that
nobody touched a rule, without reading 40,000 of them.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_NEW_GENERATION = 10 << 8 | 15
_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_FAMILY = struct.Struct("=BBH")  # struct nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_GENERATION_ID = 1  # NFTA_GEN_ID
_TIMEOUT_SECONDS = 5.0


def generation() -> int | None:
    """None where nftables is not to be had, or does not say."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(_TIMEOUT_SECONDS)
            length = _HEADER.size + _FAMILY.size
            kernel.send(
                _HEADER.pack(length, _GET_GENERATION, _REQUEST, 1, 0) + _FAMILY.pack(0, 0, 0)
            )
            return parsed(kernel.recv(4096))
    except OSError:
        return None


def parsed(message: bytes) -> int | None:
    """The id in one netlink answer."""
    if len(message) < _HEADER.size or _HEADER.unpack_from(message)[1] != _NEW_GENERATION:
        return None
    at = _HEADER.size + _FAMILY.size
    while at + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _GENERATION_ID and size == _ATTRIBUTE.size + 4:
            return int.from_bytes(message[at + _ATTRIBUTE.size : at + size], "big")
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    return None


@dataclass(slots=True)
class Witness:
    """Knows whether the kernel still holds exactly what we wrote or read last."""

    known: int | None = None

    def unchanged(self, now: int | None) -> bool:
        return now is not None and now == self.known

    def saw(self, before: int | None, after: int | None, own: int, *, read: bool) -> None:
        """We made `own` transactions between `before` and `after`. What we did not read is known
        only if it was known before; and any transaction of others in between may be about it."""
        certain = before is not None and (read or before == self.known)
        alone = after is not None and before is not None and after - before == own
        self.known = after if certain and alone else None
