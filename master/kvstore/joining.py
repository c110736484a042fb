"""Who a member is that starts with an empty data directory.

Either it founds a cluster with the others, or it was added to one, or it has lost its data: then
it must not start, for it no longer knows what it voted for and acknowledged (etcd: server.go,
isMemberBootstrapped).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from kube.component.failure import CannotRun
from kube.component.tls import client_context
from master.kvstore.cluster import (
    ClusterFlagsError,
    ClusterInfo,
    bootstrap_identity,
    joining_identity,
)
from master.kvstore.config import Config
from master.kvstore.transport.peers import NO_ANSWER, ask_cluster
from master.kvstore.wal.log import Identity

# For a member that is there, though it be busy: only it knows that this one was there before.
_ASK_SECONDS = 10.0
_CONNECT_FOUNDERS_SECONDS = 1.0  # mostly nobody is there yet: all of them are about to start


async def identity_of_new_member(config: Config) -> Identity:
    """By the flags and by what the others say. CannotRun when it must not start."""
    own = config.initial_cluster.get(config.name, config.initial_advertise_peer_urls)
    others = [url for urls in config.initial_cluster.values() for url in urls if url not in own]
    tls = client_context(config.peer_tls) if config.peer_tls else None
    try:
        if config.initial_cluster_state == "existing":
            told = await _first_answer(others, tls)
            identity = joining_identity(config.name, own, told)
            _refuse_a_second_start(identity, told)
            return identity
        identity = bootstrap_identity(
            config.name, config.initial_cluster, config.initial_cluster_token
        )
    except ClusterFlagsError as error:
        raise CannotRun(str(error)) from error
    for told in await _answers(others, tls):
        _refuse_a_second_start(identity, told)
    return identity


def _refuse_a_second_start(identity: Identity, told: ClusterInfo) -> None:
    if told.cluster_id == identity.cluster_id and identity.member_id in told.started:
        raise CannotRun(
            f"member {identity.member_id:x} has already been bootstrapped, but its data directory "
            "is empty. Remove it from the cluster and add it again (member remove, member add, "
            "then start with --initial-cluster-state existing)"
        )


async def _first_answer(urls: Sequence[str], tls: ssl.SSLContext | None) -> ClusterInfo:
    problem = "--initial-cluster names nobody else"
    for url in urls:
        try:
            return await ask_cluster(url, tls, _ASK_SECONDS)
        except NO_ANSWER as error:
            problem = f"{url}: {error or type(error).__name__}"
    raise ClusterFlagsError(
        f"--initial-cluster-state existing: no member could be asked about the cluster ({problem})"
    )


async def _answers(urls: Sequence[str], tls: ssl.SSLContext | None) -> list[ClusterInfo]:
    """Of those who are there."""
    asked = (ask_cluster(url, tls, _ASK_SECONDS, _CONNECT_FOUNDERS_SECONDS) for url in urls)
    answers: list[ClusterInfo] = []
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, ClusterInfo):
            answers.append(answer)
        elif not isinstance(answer, NO_ANSWER):
            raise answer
    return answers
