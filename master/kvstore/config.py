"""The store's flags, named and defaulted as etcd's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from kube.component.tls import TlsFiles
from kube.component.version import ETCD_VERSION
from kube.rpc.transports import DEFAULT, add_flag
from master.kvstore.auth.options import signed_tokens
from master.kvstore.auth.tokens import LIFE_SECONDS
from master.kvstore.cluster import ClusterFlagsError, parse_initial_cluster
from master.kvstore.duration import parse_duration
from master.kvstore.wal.log import SEGMENT_BYTES

if TYPE_CHECKING:
    from master.kvstore.auth.jwt import SigningKey


@dataclass(frozen=True, slots=True)
class Config:
    """One member. All URLs are lists, as etcd's flags take them."""

    name: str
    data_dir: Path
    listen_client_urls: tuple[str, ...]
    advertise_client_urls: tuple[str, ...]
    listen_peer_urls: tuple[str, ...]
    initial_advertise_peer_urls: tuple[str, ...]
    initial_cluster: dict[str, tuple[str, ...]]
    initial_cluster_state: str
    initial_cluster_token: str
    client_tls: TlsFiles | None
    client_cert_auth: bool
    peer_tls: TlsFiles | None
    peer_client_cert_auth: bool
    listen_metrics_urls: tuple[str, ...]
    heartbeat_ms: int
    election_ms: int
    initial_election_tick_advance: bool
    quota_backend_bytes: int
    snapshot_count: int
    watch_progress_notify_seconds: float
    rpc_transport: str = DEFAULT
    corrupt_check_seconds: float = 0.0  # 0: never
    initial_corrupt_check: bool = False
    max_txn_ops: int = 128
    max_request_bytes: int = 3 << 19  # 1.5 MiB
    bcrypt_cost: int = 10
    token_key: SigningKey | None = None  # None: tokens are simple ones
    token_seconds: float = LIFE_SECONDS
    snapshot_catchup_entries: int = 5000
    wal_segment_bytes: int = SEGMENT_BYTES

    @classmethod
    def from_argv(cls, argv: Sequence[str] | None = None) -> Config:
        parser = _parser()
        flags = parser.parse_args(argv)
        try:
            return _build(flags)
        except (ClusterFlagsError, ValueError) as error:
            parser.error(str(error))


def _build(flags: argparse.Namespace) -> Config:
    advertised = _urls("--initial-advertise-peer-urls", flags.initial_advertise_peer_urls)
    cluster = flags.initial_cluster or ",".join(f"{flags.name}={url}" for url in advertised)
    client_tls = _tls("", flags.cert_file, flags.key_file, flags.trusted_ca_file)
    peer_tls = _tls("peer-", flags.peer_cert_file, flags.peer_key_file, flags.peer_trusted_ca_file)
    signed = signed_tokens(flags.auth_token)
    if flags.auth_token_ttl < 0:
        raise ValueError("--auth-token-ttl must not be negative")
    config = Config(
        name=flags.name,
        data_dir=Path(flags.data_dir or f"{flags.name}.etcd"),
        listen_client_urls=_urls("--listen-client-urls", flags.listen_client_urls),
        advertise_client_urls=_urls("--advertise-client-urls", flags.advertise_client_urls),
        listen_peer_urls=_urls("--listen-peer-urls", flags.listen_peer_urls),
        initial_advertise_peer_urls=advertised,
        initial_cluster=parse_initial_cluster(cluster),
        initial_cluster_state=flags.initial_cluster_state,
        initial_cluster_token=flags.initial_cluster_token,
        client_tls=client_tls,
        client_cert_auth=flags.client_cert_auth,
        peer_tls=peer_tls,
        peer_client_cert_auth=flags.peer_client_cert_auth,
        listen_metrics_urls=_urls("--listen-metrics-urls", flags.listen_metrics_urls),
        heartbeat_ms=flags.heartbeat_interval,
        election_ms=flags.election_timeout,
        initial_election_tick_advance=flags.initial_election_tick_advance == "true",
        quota_backend_bytes=flags.quota_backend_bytes or 2 << 30,
        snapshot_count=flags.snapshot_count,
        watch_progress_notify_seconds=parse_duration(
            flags.experimental_watch_progress_notify_interval
        ),
        rpc_transport=flags.rpc_transport,
        corrupt_check_seconds=parse_duration(flags.experimental_corrupt_check_time),
        initial_corrupt_check=flags.experimental_initial_corrupt_check,
        max_txn_ops=flags.max_txn_ops,
        max_request_bytes=flags.max_request_bytes,
        bcrypt_cost=flags.bcrypt_cost,
        token_key=signed[0] if signed else None,
        token_seconds=signed[1] if signed else flags.auth_token_ttl or LIFE_SECONDS,
        snapshot_catchup_entries=flags.experimental_snapshot_catchup_entries,
        wal_segment_bytes=flags.wal_segment_bytes,
    )
    _check(config)
    return config


def _check(config: Config) -> None:
    if config.election_ms < 5 * config.heartbeat_ms:
        raise ValueError(
            f"--election-timeout[{config.election_ms}ms] should be at least 5 times "
            f"--heartbeat-interval[{config.heartbeat_ms}ms]"
        )
    if config.election_ms > 50_000:
        raise ValueError("--election-timeout is too long, and should be set less than 50000ms")
    secure = (*config.listen_client_urls, *config.listen_metrics_urls)
    if any(url.startswith("https:") for url in secure) and config.client_tls is None:
        raise ValueError("https URLs need --cert-file, --key-file and --trusted-ca-file")
    if any(url.startswith("https:") for url in config.listen_peer_urls) and not config.peer_tls:
        raise ValueError(
            "https peer URLs need --peer-cert-file, --peer-key-file and --peer-trusted-ca-file"
        )


def _urls(flag: str, text: str) -> tuple[str, ...]:
    urls = tuple(filter(None, text.split(",")))
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
            raise ValueError(f'{flag}: "{url}" is not of the form https://host:port')
    return urls


def _tls(prefix: str, cert: str, key: str, ca: str) -> TlsFiles | None:
    if not (cert or key or ca):
        return None
    files = {"cert-file": cert, "key-file": key, "trusted-ca-file": ca}
    for name, value in files.items():
        if not value:
            raise ValueError(f"--{prefix}{name} is missing")
    for name, value in files.items():
        if not Path(value).is_file():
            raise ValueError(f'--{prefix}{name}: "{value}" is no file')
    return TlsFiles(Path(cert), Path(key), Path(ca))


def address(url: str) -> SplitResult:
    return urlsplit(url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster-kvstore", description=__doc__)
    add = parser.add_argument
    add("--version", action="version", version=f"etcd Version: {ETCD_VERSION}")
    add("--name", default="default", help="this member's name in --initial-cluster")
    add("--data-dir", default="", help="default: NAME.etcd")
    add("--listen-client-urls", default="http://127.0.0.1:2379")
    add("--advertise-client-urls", default="http://127.0.0.1:2379")
    add("--listen-peer-urls", default="http://127.0.0.1:2380")
    add("--initial-advertise-peer-urls", default="http://127.0.0.1:2380")
    add("--initial-cluster", default="", help="name=peer-url,... of all members")
    add("--initial-cluster-state", choices=("new", "existing"), default="new")
    add("--initial-cluster-token", default="etcd-cluster")
    add("--cert-file", default="")
    add("--key-file", default="")
    add("--trusted-ca-file", default="")
    add("--client-cert-auth", action="store_true", help="clients must show a certificate")
    add("--peer-cert-file", default="")
    add("--peer-key-file", default="")
    add("--peer-trusted-ca-file", default="")
    add("--peer-client-cert-auth", action="store_true", help="peers must show a certificate")
    add("--listen-metrics-urls", default="")
    add("--heartbeat-interval", type=int, default=100, metavar="MS")
    add("--election-timeout", type=int, default=1000, metavar="MS")
    add(
        "--initial-election-tick-advance",
        nargs="?",
        choices=("true", "false"),
        const="true",
        default="true",
        help="after a start, do not sit out the first timeout once a majority is within reach",
    )
    add("--quota-backend-bytes", type=int, default=0, help="0: 2 GiB; negative: none")
    add("--max-txn-ops", type=int, default=128, help="operations in a transaction")
    add("--max-request-bytes", type=int, default=3 << 19, help="of what a client may send")
    add(
        "--auth-token",
        default="simple",
        metavar="TYPE,...",
        help="simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m",
    )
    add(
        "--auth-token-ttl",
        type=int,
        default=int(LIFE_SECONDS),
        metavar="SECONDS",
        help="life of a simple token that is not used",
    )
    add("--bcrypt-cost", type=int, default=10, choices=range(4, 32), metavar="4..31")
    add("--snapshot-count", type=int, default=10_000, help="applied entries between snapshots")
    add("--experimental-watch-progress-notify-interval", default="10m", metavar="DURATION")
    add_flag(parser)
    add("--experimental-corrupt-check-time", default="0s", metavar="DURATION")
    add(
        "--experimental-initial-corrupt-check",
        action="store_true",
        help="compare with the others' data before serving",
    )
    add(
        "--experimental-snapshot-catchup-entries",
        type=int,
        default=5000,
        help="entries kept behind a snapshot, for members that lag a little",
    )
    add(
        "--wal-segment-bytes",
        type=int,
        default=SEGMENT_BYTES,
        help="how large a file of the log becomes (not etcd's)",
    )
    return parser
