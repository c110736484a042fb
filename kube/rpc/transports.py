"""Which transport serves: `--rpc-transport grpcio|nghttp2`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from kube.component.log import get_logger
from kube.rpc.h2.binding import why_not
from kube.rpc.listen import Keepalive, Listen, Site, Translate
from kube.rpc.names import DEFAULT, NGHTTP2, TRANSPORTS
from kube.rpc.service import Method, Observer

__all__ = ["DEFAULT", "add_flag", "rpc_server"]

log = get_logger(__name__)


def add_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rpc-transport",
        choices=TRANSPORTS,
        default=DEFAULT,
        help="what carries gRPC: libnghttp2 with our shim, or the reference implementation",
    )


def rpc_server(
    transport: str,
    methods: Iterable[Method],
    addresses: Sequence[Listen],
    observer: Observer,
    *,
    max_receive_bytes: int = 4 << 20,
    translate: Translate | None = None,
    keepalive: Keepalive | None = None,
    site: Site | None = None,
) -> AbstractAsyncContextManager[list[int]]:
    """The server of that transport; grpcio's, which has no site, where the shim cannot be used."""
    reason = why_not() if transport == NGHTTP2 else ""
    if reason:
        log.warning("nghttp2 is not usable, grpcio serves instead", reason=reason)
    if transport == NGHTTP2 and not reason:
        from kube.rpc.h2.server import h2_server

        return h2_server(
            methods,
            addresses,
            observer,
            max_receive_bytes=max_receive_bytes,
            translate=translate,
            keepalive=keepalive,
            site=site,
        )
    from kube.rpc.grpcio import grpc_server  # imported only if used: it is large

    return grpc_server(
        methods,
        addresses,
        observer,
        max_receive_bytes=max_receive_bytes,
        translate=translate,
        keepalive=keepalive,
    )
