"""The flags and frame that scheduler and controller-manager share: who we are, who leads.

Durations are seconds, with fractions.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from kube.client.client import Client
from kube.client.leader import LeaderElector
from kube.component.tls import TlsFiles, server_context

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - upstream's default; the port is mTLS


def truth(text: str) -> bool:
    """Go's boolean flags: `--leader-elect=false`."""
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}: use true or false")


@dataclass(frozen=True, slots=True)
class ClientFlags:
    """Where the api-servers are, our identity, our own port, and leader election."""

    servers: tuple[str, ...]
    kubeconfig: Path | None = None
    bind_address: str = ANY_ADDRESS
    secure_port: int = 0
    tls_files: TlsFiles | None = None
    leader_elect: bool = True
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> ClientFlags:
        files = (args.tls_cert_file, args.tls_private_key_file, args.client_ca_file)
        return cls(
            servers=tuple(filter(None, args.api_servers.split(","))),
            kubeconfig=args.kubeconfig,
            bind_address=args.bind_address,
            secure_port=args.secure_port,
            tls_files=TlsFiles(*files) if all(files) else None,
            leader_elect=args.leader_elect,
            lease_duration=args.leader_elect_lease_duration,
            renew_deadline=args.leader_elect_renew_deadline,
            retry_period=args.leader_elect_retry_period,
        )

    @property
    def address(self) -> str:
        """Where to listen: without certificates only where nobody else can ask."""
        return self.bind_address if self.tls_files is not None else "127.0.0.1"

    def tls(self) -> ssl.SSLContext | None:
        """The serving context; None (plaintext) only where no certificate was given."""
        return server_context(self.tls_files) if self.tls_files is not None else None


def add_client_flags(
    parser: argparse.ArgumentParser,
    *,
    secure_port: int,
    listen: tuple[str, str] = ("--bind-address", "--secure-port"),
) -> None:
    """`listen` are the names of the flags for our own address and port."""
    address, port = listen
    parser.add_argument("--api-servers", required=True, metavar="HOST:PORT[,...]")
    parser.add_argument("--kubeconfig", type=Path)
    parser.add_argument(address, dest="bind_address", default=ANY_ADDRESS)
    parser.add_argument(port, dest="secure_port", type=int, default=secure_port)
    parser.add_argument("--tls-cert-file", type=Path)
    parser.add_argument("--tls-private-key-file", type=Path)
    parser.add_argument("--client-ca-file", type=Path)
    parser.add_argument("--leader-elect", type=truth, nargs="?", const=True, default=True)
    parser.add_argument("--leader-elect-lease-duration", type=float, default=15.0)
    parser.add_argument("--leader-elect-renew-deadline", type=float, default=10.0)
    parser.add_argument("--leader-elect-retry-period", type=float, default=2.0)


def leader_elector(
    client: Client, flags: ClientFlags, lease: str, identity: str
) -> LeaderElector | None:
    """None with --leader-elect=false: then this process leads without asking."""
    if not flags.leader_elect:
        return None
    return LeaderElector(
        client, lease, identity, flags.lease_duration, flags.renew_deadline, flags.retry_period
    )


async def stop_or_failure(stop: asyncio.Event, working: asyncio.Task[None]) -> None:
    """Until told to stop, or until the work fails: then its error is ours."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        for task in (stopping, working):
            task.cancel()
        await asyncio.gather(stopping, working, return_exceptions=True)
