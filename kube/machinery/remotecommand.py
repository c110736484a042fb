"""Kubernetes' remote commands over WebSocket: subprotocols and channels. Pure.

Each binary message starts with one byte, the channel. v5 (KEP-4006) adds that a client may close
a single channel, which is how the end of stdin is told.
"""

from __future__ import annotations

V4 = "v4.channel.k8s.io"
V5 = "v5.channel.k8s.io"
# In the order in which we prefer them.
PROTOCOLS = (V5, V4)

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
