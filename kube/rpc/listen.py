"""What every transport's server is told: where to listen, and how to read foreign errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kube.component.tls import TlsFiles
from kube.http.connection import Limits
from kube.http.messages import Handler
from kube.rpc.errors import RpcError

# Turns what a service raises into an RpcError; None leaves it an internal error.
Translate = Callable[[Exception], RpcError | None]


@dataclass(frozen=True, slots=True)
class Listen:
    """One address. `tls` None is plain text; `client_auth` asks clients for a certificate.

    A `host` of "unix:/PATH" is a socket in the file system.
    """

    host: str
    port: int
    tls: TlsFiles | None = None
    client_auth: bool = True


@dataclass(frozen=True, slots=True)
class Keepalive:
    """A silent client is pinged and given up; it may itself ping as often as it likes."""

    seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Site:
    """What those are shown who ask over plain HTTP; grpcio's server shows them nothing."""

    handler: Handler
    limits: Limits
