"""The store's process: flags, recovery from disk, wiring, serving."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import REGISTRY, Counter

from kube.component import metrics, run
from kube.component.log import get_logger
from kube.component.tls import client_context, server_context
from kube.http.connection import Limits as HttpLimits
from kube.http.messages import Pages
from kube.http.server import http_server
from kube.rpc.listen import Listen, Site
from kube.rpc.metrics import PrometheusObserver
from kube.rpc.transports import rpc_server
from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore import failpoint, state
from master.kvstore.auth.tokens import SimpleTokens, Tokens
from master.kvstore.cluster import members_of
from master.kvstore.config import Config, address
from master.kvstore.corruption import check_before_joining, watch_for_corruption
from master.kvstore.driver.clock import Timing
from master.kvstore.driver.limits import Limits
from master.kvstore.errors import MemberRemoved, StoreError
from master.kvstore.gateway.gateway import Gateway
from master.kvstore.gateway.health import Health
from master.kvstore.gateway.site import ClientSite
from master.kvstore.joining import identity_of_new_member
from master.kvstore.machine import Machine
from master.kvstore.metrics import (
    PEER_FAILURES,
    PEER_RECEIVED,
    PEER_RTT,
    PEER_SENT,
    WAL_FSYNC,
)
from master.kvstore.node import Node
from master.kvstore.nodemetrics import NodeCollector
from master.kvstore.raft.core import Config as CoreConfig
from master.kvstore.raft.core import Core
from master.kvstore.raft.messages import HardState
from master.kvstore.services import all_methods
from master.kvstore.services.common import RECEIVE_OVERHEAD_BYTES
from master.kvstore.transport.frames import PROTOCOL, Hello
from master.kvstore.transport.peer import PeerEvents
from master.kvstore.transport.peers import Peers
from master.kvstore.transport.server import PeerHandlers, PeerServer
from master.kvstore.wal.log import Contents, Identity, Wal, segment_files
from master.kvstore.wal.record import WalCorrupt
from master.kvstore.wal.snapshot import SnapshotCorrupt, SnapshotDirectory
from master.kvstore.wal.writer import DiskWriter

log = get_logger(__name__)
# A thread that computes (a snapshot, its restoring) gives the event loop its turn after so long,
# and the disk's thread gets its turn from the loop.
_SWITCH_SECONDS = 0.0005


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Recover, listen, take part, until `stop`. A failing disk ends it with that error."""
    failure: list[BaseException] = []

    def on_fatal(error: BaseException) -> None:
        if stop.is_set():
            return  # it stops already; what goes wrong now may be a consequence
        log.error("member must stop", error=str(error) or repr(error))
        if not isinstance(error, MemberRemoved):
            failure.append(error)
        stop.set()

    node, wal = recover(config, on_fatal, await _new_identity(config))
    gc.freeze()  # the state will not be garbage: the collector need not walk through it
    node.trusts_certificates = config.client_cert_auth
    node.start(
        DiskWriter(
            wal,
            asyncio.get_running_loop(),
            on_fatal=node.life.fail,
            observe_seconds=WAL_FSYNC.observe,
        )
    )
    collector = NodeCollector(node)
    REGISTRY.register(collector)
    try:
        async with AsyncExitStack() as stack:
            await _listen_to_peers(config, node, stack)
            if config.initial_corrupt_check:
                await check_before_joining(node, _peer_client_tls(config))
            await _connect_to_peers(config, node, stack)
            stack.push_async_callback(node.stop)  # while the peers can still be told
            await _serve_metrics(config, node, stack)
            await _serve_clients(config, node, stack)
            publishing = asyncio.create_task(_publish(config, node), name="publish")
            stack.callback(publishing.cancel)
            if config.corrupt_check_seconds:
                checking = asyncio.create_task(
                    watch_for_corruption(node, config.corrupt_check_seconds), name="corruption"
                )
                stack.callback(checking.cancel)
            run.notify_ready()
            log.info("serving", member=f"{node.id:x}", clients=config.listen_client_urls)
            await stop.wait()
    finally:
        REGISTRY.unregister(collector)
    if failure:
        raise failure[0]


async def _new_identity(config: Config) -> Identity | None:
    return None if segment_files(_wal_directory(config)) else await identity_of_new_member(config)


def recover(
    config: Config, on_fatal: Callable[[BaseException], None], new: Identity | None
) -> tuple[Node, Wal]:
    """The member as its disk has it, or a new one."""
    snapshots = SnapshotDirectory(config.data_dir / "member" / "snap")
    wal, contents = _open_log(config, new)
    assert contents.identity is not None
    identity = contents.identity
    machine = Machine()
    machine.members = members_of(identity)
    newest = snapshots.newest()
    if newest is not None:
        meta, machine = state.load(newest)
        if meta is None:
            raise SnapshotCorrupt(f'"{newest}" was not written by a member of this store')
        contents.start_from(meta)
    elif contents.snapshot.index:
        raise WalCorrupt(
            f'the log starts after a snapshot at {contents.snapshot.index}, but "'
            f'{snapshots.directory}" has none'
        )
    contents.check_whole()
    snapshots.drop_old()
    snapshots.drop_unfinished()
    core = Core(
        CoreConfig(
            identity.member_id,
            election_ticks=config.election_ms // config.heartbeat_ms,
            initial_tick_advance=config.initial_election_tick_advance,
        ),
        random.SystemRandom(),
        membership=contents.snapshot.membership if newest else identity.membership(),
        hard_state=_hard_state(contents),
        snapshot=contents.snapshot if contents.snapshot.index else None,
        entries=contents.entries,
    )
    timing = Timing(config.heartbeat_ms / 1000, core.config.election_ticks)
    limits = Limits(
        config.quota_backend_bytes,
        config.snapshot_count,
        config.watch_progress_notify_seconds,
        config.snapshot_catchup_entries,
        config.max_txn_ops,
        config.max_request_bytes,
        config.bcrypt_cost,
    )
    log.info(
        "recovered",
        member=f"{identity.member_id:x}",
        cluster=f"{identity.cluster_id:x}",
        snapshot=contents.snapshot.index,
        last=core.log.last_index,
    )
    return Node(identity, core, machine, snapshots, timing, limits, _tokens(config), on_fatal), wal


def _tokens(config: Config) -> Tokens:
    if config.token_key is None:
        return SimpleTokens(time.monotonic, config.token_seconds)
    from master.kvstore.auth.jwt import JwtTokens  # here: few want it

    return JwtTokens(config.token_key, time.time, config.token_seconds)


def _wal_directory(config: Config) -> Path:
    return config.data_dir / "member" / "wal"


def _open_log(config: Config, new: Identity | None) -> tuple[Wal, Contents]:
    directory = _wal_directory(config)
    if segment_files(directory):
        return Wal.open(directory, segment_bytes=config.wal_segment_bytes)
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    assert new is not None, "there is a log, or somebody said who this is"
    wal = Wal.create(directory, new, segment_bytes=config.wal_segment_bytes)
    return wal, Contents(identity=new)


def _hard_state(contents: Contents) -> HardState:
    """A snapshot that was received just before a crash may be newer than the logged term."""
    saved = contents.hard_state
    if contents.snapshot.term > saved.term:
        return HardState(contents.snapshot.term, commit=contents.snapshot.index)
    return saved


async def _listen_to_peers(config: Config, node: Node, stack: AsyncExitStack) -> None:
    me = Hello(PROTOCOL, node.identity.cluster_id, node.id, 0, secrets.randbits(62))
    server = PeerServer(
        me,
        PeerHandlers(
            removed=node.contacts.was_removed,
            greeted=node.contacts.greeted,
            messages=node.inbox.receive,
            request=node.requests.answer,
            incoming=node.inbox.incoming,
            snapshot=node.inbox.receive_snapshot,
            received=_count_bytes(PEER_RECEIVED),
        ),
    )
    for url in config.listen_peer_urls:
        parts = address(url)
        tls = _peer_server_tls(config) if parts.scheme == "https" else None
        await stack.enter_async_context(server.listen(parts.hostname or "", parts.port or 0, tls))


def _count_bytes(counter: Counter) -> Callable[[int, int], None]:
    """Count bytes by member. Finding a labelled counter takes longer than counting."""
    known: dict[int, Counter] = {}

    def count(member: int, size: int) -> None:
        if member not in known:
            known[member] = counter.labels(f"{member:x}")
        known[member].inc(size)

    return count


def _peer_server_tls(config: Config) -> ssl.SSLContext:
    assert config.peer_tls is not None
    return server_context(config.peer_tls, require_client_cert=config.peer_client_cert_auth)


def _peer_client_tls(config: Config) -> ssl.SSLContext | None:
    return client_context(config.peer_tls) if config.peer_tls else None


async def _connect_to_peers(config: Config, node: Node, stack: AsyncExitStack) -> None:
    incarnation = secrets.randbits(62)
    tls = _peer_client_tls(config)
    events = PeerEvents(
        gone=node.inbox.peer_gone,
        removed=node.life.leave_cluster,
        unreachable=node.inbox.peer_unreachable,
        sent=_count_bytes(PEER_SENT),
        failed=lambda member: PEER_FAILURES.labels(f"{member:x}").inc(),
        round_trip=lambda member, seconds: PEER_RTT.labels(f"{member:x}").observe(seconds),
    )

    def hello(to: int) -> Hello:
        urls = config.initial_advertise_peer_urls
        return Hello(PROTOCOL, node.identity.cluster_id, node.id, to, incarnation, urls)

    peers = Peers(hello, tls, events)
    node.contacts.connect(peers)
    stack.callback(peers.close)


async def _serve_metrics(config: Config, node: Node, stack: AsyncExitStack) -> None:
    checks: dict[str, metrics.Check] = {
        "leader": lambda: None if node.has_leader else "no leader",
        "alarms": lambda: "alarm is raised" if node.machine.alarms else None,
    }
    health = Health(node)
    for url in config.listen_metrics_urls:
        parts = address(url)
        tls = None
        if parts.scheme == "https":
            assert config.client_tls is not None
            tls = server_context(config.client_tls, require_client_cert=config.client_cert_auth)
        site = Pages({**metrics.pages(checks), "/health": health})
        await stack.enter_async_context(
            http_server(site, parts.hostname or "", parts.port or 0, tls)
        )


async def _serve_clients(config: Config, node: Node, stack: AsyncExitStack) -> None:
    addresses = []
    for url in config.listen_client_urls:
        parts = address(url)
        tls = config.client_tls if parts.scheme == "https" else None
        addresses.append(
            Listen(parts.hostname or "", parts.port or 0, tls, config.client_cert_auth)
        )
    methods = list(all_methods(node))
    observer = PrometheusObserver("etcd_network_client_grpc", methods)
    max_bytes = config.max_request_bytes + RECEIVE_OVERHEAD_BYTES
    gateway = Gateway(methods, observer, max_bytes)
    # Bytes are base64 in JSON, a third more, and there are names around them.
    limits = HttpLimits(max_body_bytes=2 * max_bytes)
    await stack.enter_async_context(
        rpc_server(
            config.rpc_transport,
            methods,
            addresses,
            observer,
            max_receive_bytes=max_bytes,
            site=Site(ClientSite(node, gateway), limits),
        )
    )


async def _publish(config: Config, node: Node) -> None:
    """Tell the others this member's name and client URLs, until they have been applied."""
    wanted = rpc_pb2.Member(ID=node.id, name=config.name, clientURLs=config.advertise_client_urls)
    while True:
        known = node.machine.members.all.get(node.id)
        if known is None:  # added, but the log has not told yet
            await asyncio.sleep(node.timing.tick_seconds)
            continue
        if (known.name, list(known.clientURLs)) == (wanted.name, list(wanted.clientURLs)):
            return
        try:
            await node.propose(command_pb2.Command(member_attributes=wanted))
        except StoreError as error:
            log.info("not published yet", error=error.message)
            await asyncio.sleep(node.timing.tick_seconds)


def main(argv: Sequence[str] | None = None) -> int:
    failpoint.arm(os.environ.get(failpoint.VARIABLE, ""))
    sys.setswitchinterval(_SWITCH_SECONDS)
    return run.run(serve, Config.from_argv(argv), "kvstore")
