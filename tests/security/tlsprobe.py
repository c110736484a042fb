"""Asks a TLS port what it accepts: one version, one list of ciphers at a time."""

from __future__ import annotations

import contextlib
import socket
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path

from kube.component.tls import TlsFiles


def accepts(
    connect: Callable[[], socket.socket],
    who: TlsFiles | None,
    host: str,
    version: ssl.TLSVersion,
    ciphers: str,
    alpn: str = "",
    *,
    ca: Path | None = None,
) -> str:
    """The cipher's name if the handshake stands and the server does not end it, else nothing."""
    context = ssl.create_default_context(cafile=str(who.ca if who else ca))
    if who is not None:
        context.load_cert_chain(who.cert, who.key)
    if alpn:
        context.set_alpn_protocols([alpn])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what is asked about
        context.minimum_version = context.maximum_version = version
    raw = connect()
    try:
        if ciphers:
            context.set_ciphers(ciphers)  # fails if there is none of them
        with context.wrap_socket(raw, server_hostname=host) as opened:
            # In TLS 1.3 a client is through before the server has looked at its certificate.
            opened.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                if opened.recv(1) == b"":
                    return ""
            found = opened.cipher()
            return found[0] if found else ""
    except OSError:
        return ""
    finally:
        raw.close()
