"""The end of a listening socket. Whoever connected is answered or refused, and gets no reset.

The kernel resets every connection that waits in the queue of a socket that is closed: its client
had connected and learns that it had not. So nothing more is let into the queue, it is emptied, and
only then is the socket closed.
"""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

_SO_ATTACH_FILTER = 26
_SYN, _ACK, _FLAGS_AT = 0x02, 0x10, 13
_LOAD_BYTE, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
# bpf(4): a segment that would begin a connection is dropped, every other one passes.
_DROP_SYN: Sequence[tuple[int, int, int, int]] = (
    (_LOAD_BYTE, 0, 0, _FLAGS_AT),
    (_AND, 0, 0, _SYN | _ACK),
    (_JUMP_IF_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),
)


def admit_no_more(listening: socket.socket) -> None:
    """New clients are not heard any more: they try again, and are refused once it is closed.

    A kernel may keep socket filters to those with CAP_NET_ADMIN. Without one, the caller's last
    look at the queue is all there is: who comes between it and the closing is reset.
    """
    code = array.array("B", b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    address, _ = code.buffer_info()
    with suppress(PermissionError):
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), address)
        )
