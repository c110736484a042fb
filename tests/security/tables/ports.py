"""Who listens where, what TLS it speaks, and who gets a connection: asked of running components."""

from __future__ import annotations

import ssl

from kube.component.tls import TlsFiles
from tests.security.listener_world import PORTS, Port, World, world
from tests.security.tables import Table
from tests.security.tlsprobe import accepts

_HEADER = (
    "component", "port", "speaks", "TLS 1.0, 1.1", "TLS 1.2", "CBC suites", "TLS 1.3",
    "without a certificate", "with one of another CA", "with one of its CA",
)  # fmt: skip
_OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
_ALL = "ALL:@SECLEVEL=0"
_CBC = f"{_ALL}:!AESGCM:!CHACHA20:!AESCCM:!ARIAGCM"
_SPEAKS = {
    "http": "HTTP/1.1", "grpc": "gRPC", "both": "gRPC, HTTP/1.1", "peers": "the members' own",
}  # fmt: skip


def table() -> Table:
    with world() as lab:
        return Table(_HEADER, [_row(lab, port) for port in PORTS])


def _row(lab: World, port: Port) -> tuple[str, ...]:
    about = (port.component, str(port.number), _SPEAKS[port.speaks])
    if not port.tls:
        return (*about, *("no TLS",) * 4, _let_in(lab, port, None), "-", "-")
    return (
        *about,
        "accepted" if any(_cipher(lab, port, version, _ALL) for version in _OLD) else "refused",
        ", ".join(_suites(lab, port, ssl.TLSVersion.TLSv1_2)) or "refused",
        "accepted" if _cipher(lab, port, ssl.TLSVersion.TLSv1_2, _CBC) else "none",
        "accepted" if _cipher(lab, port, ssl.TLSVersion.TLSv1_3, "") else "refused",
        _let_in(lab, port, None),
        _let_in(lab, port, lab.stranger),
        _let_in(lab, port, lab.nobody),
    )


def _cipher(lab: World, port: Port, version: ssl.TLSVersion, ciphers: str) -> str:
    return accepts(
        lambda: lab.connect(port), lab.nobody, lab.host(port), version, ciphers, port.alpn
    )


def _suites(lab: World, port: Port, version: ssl.TLSVersion) -> list[str]:
    """What is accepted, one after the other, until nothing else is."""
    found: list[str] = []
    while True:
        suite = _cipher(lab, port, version, ":".join([_ALL, *(f"!{name}" for name in found)]))
        if not suite:
            return found
        found.append(suite)


def _let_in(lab: World, port: Port, who: TlsFiles | None) -> str:
    """What they are answered; for gRPC and the members, whether the connection stands."""
    if port.speaks in ("http", "both"):
        answer = lab.http(port, who)
        return f"{answer} on {port.page}" if answer else "no connection"
    stands = accepts(
        lambda: lab.connect(port), who, lab.host(port), ssl.TLSVersion.TLSv1_3, "", port.alpn,
        ca=lab.server_files.ca,
    )  # fmt: skip
    return "a connection" if stands else "no connection"
