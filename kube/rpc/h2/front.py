"""Who a new connection of a port that serves pages too is handed to: HTTP/2 or HTTP/1.1.

TLS says it (ALPN), else the first bytes do. After that the chosen protocol has the transport to
itself: a call costs nothing more than on a port of gRPC alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from kube.http.listener import Accepted

# What HTTP/2 begins with (RFC 9113 3.4) and no request of HTTP/1.1 does.
_PREFACE = b"PRI * HTTP/2.0"


class Front(Accepted):
    def __init__(
        self, h2: Callable[[], Accepted], http1: Callable[[], Accepted],
        seconds: float, known: set[Front],
    ) -> None:  # fmt: skip
        self._h2 = h2
        self._http1 = http1
        self._seconds = seconds
        self._known = known
        self._loop = asyncio.get_running_loop()
        self.closed = self._loop.create_future()
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._become(self._h2() if tls.selected_alpn_protocol() == "h2" else self._http1())
            return
        self._known.add(self)
        self._timer = self._loop.call_later(self._seconds, self.abort)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._data.startswith(_PREFACE):
            self._become(self._h2())
        elif not _PREFACE.startswith(self._data):
            self._become(self._http1())

    def _become(self, chosen: Accepted) -> None:
        self._known.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        chosen.closed.add_done_callback(self._end)
        self._transport.set_protocol(chosen)
        chosen.connection_made(self._transport)
        if self._data:
            chosen.data_received(self._data)
            self._data = b""

    def connection_lost(self, error: Exception | None) -> None:
        """Before it was clear what it speaks."""
        self._known.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._end(None)

    def _end(self, _: object) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def abort(self) -> None:
        self._transport.abort()
