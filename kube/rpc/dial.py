"""Calls of other processes' services: open a channel to one server, on either transport.

channel = open_channel("10.0.0.1:6444", material)
answer = await channel.stub(SERVICE).Get(request, timeout=3)
"""

from __future__ import annotations

from kube.component.tls import TlsMaterial
from kube.rpc.channel import Channel, ChannelOptions
from kube.rpc.h2.binding import why_not
from kube.rpc.names import DEFAULT, NGHTTP2


def open_channel(
    target: str,
    tls: TlsMaterial | None = None,
    options: ChannelOptions | None = None,
    transport: str = DEFAULT,
) -> Channel:
    """To "HOST:PORT" or "unix:/PATH"; grpcio's where the shim cannot be used."""
    options = options or ChannelOptions()
    if transport == NGHTTP2 and not why_not():
        from kube.rpc.h2.client import Channel as H2Channel

        return H2Channel.open(target, tls, options)
    from kube.rpc.grpcio_client import GrpcioChannel

    return GrpcioChannel(target, tls, options)
