"""Cuts a stream of WebSocket frames where frames end (RFC 6455 section 5.2). Pure.

Used for what goes back to a client: each frame then travels in a TLS record of its own, as it
left the kubelet. A client that polls its socket, as the published Python client does, would not
learn of a second frame in the same record, and wait for ever.
"""

from __future__ import annotations

_MASKED = 0x80
_LENGTH = 0x7F
_EXTENDED = {126: 2, 127: 8}


class FrameCutter:
    """Holds back at most an unfinished frame header; payloads pass as they come."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0  # bytes of the present frame that are still to come

    def cut(self, data: bytes) -> list[bytes]:
        """`data` again, in pieces of which none reaches from one frame into the next."""
        data, self._head = self._head + data, b""
        pieces, at = [], 0
        while at < len(data):
            if not self._left:
                size = frame_size(data[at : at + 14])
                if size is None:
                    self._head = data[at:]
                    break
                self._left = size
            end = min(at + self._left, len(data))
            pieces.append(data[at:end])
            self._left -= end - at
            at = end
        return pieces


def frame_size(head: bytes) -> int | None:
    """Bytes of the whole frame that begins with `head`; None when too little is known."""
    if len(head) < 2:
        return None
    mask = 4 if head[1] & _MASKED else 0
    length = head[1] & _LENGTH
    extended = _EXTENDED.get(length, 0)
    if len(head) < 2 + extended:
        return None
    if extended:
        length = int.from_bytes(head[2 : 2 + extended], "big")
    return 2 + extended + mask + length
