"""The store's small parts: lease clockwork, proposals, read batches, flags, ids."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kube.stubs.etcd import command_pb2, rpc_pb2
from master.kvstore.barrier import ReadBarrier
from master.kvstore.cluster import ClusterFlagsError, bootstrap_identity, parse_initial_cluster
from master.kvstore.config import Config
from master.kvstore.driver.clock import Timing
from master.kvstore.driver.lifecycle import Lifecycle
from master.kvstore.driver.limits import Limits
from master.kvstore.driver.replica import Replica
from master.kvstore.driver.sweep import Sweeper
from master.kvstore.duration import parse_duration
from master.kvstore.errors import RequestTimeout, TimeoutDueToLeaderFail
from master.kvstore.lease.expiry import Expiry
from master.kvstore.lease.lessor import Lease
from master.kvstore.machine import Applied, Machine
from master.kvstore.proposals import Proposals
from master.kvstore.raft.core import Read


def test_leases_expire_on_the_leaders_clock_only() -> None:
    expiry = Expiry()
    expiry.renew(1, 5, now=0)
    assert expiry.expired(100, 10) == [], "a follower expires nothing"
    expiry.lead([Lease(1, 5), Lease(2, 50)], now=100, grace_seconds=1)
    assert expiry.expired(105.9, 10) == []
    expiry.renew(1, 5, now=105)
    assert expiry.expired(109.9, 10) == []
    assert expiry.expired(110, 10) == [1]


def test_an_expired_lease_is_named_again_until_it_is_revoked() -> None:
    expiry = Expiry()
    expiry.lead([Lease(1, 5)], now=0, grace_seconds=0)
    assert expiry.expired(5, 10) == [1]
    assert expiry.expired(5.5, 10) == []
    assert expiry.expired(9, 10) == [1]
    expiry.forget(1)
    assert expiry.expired(20, 10) == []


def test_a_new_leader_gives_the_whole_ttl_again() -> None:
    expiry = Expiry()
    expiry.lead([Lease(1, 5)], now=0, grace_seconds=1)
    expiry.follow()
    expiry.lead([Lease(1, 5)], now=4, grace_seconds=1)
    assert expiry.remaining(1, 4) == 6


def test_the_shortest_lease_outlives_an_election() -> None:
    assert Timing(0.1, 10).least_lease_seconds == 2
    assert Timing(0.5, 10).least_lease_seconds == 8


def put(key: bytes = b"k") -> command_pb2.Command:
    return command_pb2.Command(put=rpc_pb2.PutRequest(key=key))


async def test_each_proposal_gets_its_own_outcome() -> None:
    proposals = Proposals(origin=1)
    outcomes = [proposals.add(put(b"%d" % i), deadline=10) for i in range(3)]
    batch = proposals.next_batch()
    commands = [command_pb2.Command.FromString(payload) for _, payload in batch]
    assert len({command.id for command in commands}) == 3
    for command in reversed(commands):
        proposals.settle(Applied(command, response=command.put.key))
    assert [(await outcome).response for outcome in outcomes] == [b"0", b"1", b"2"]
    foreign = put()
    foreign.id, foreign.origin = commands[0].id, 2
    proposals.settle(Applied(foreign))
    assert len(proposals) == 0


async def test_an_older_terms_proposals_fail_when_the_new_leader_is_in_charge() -> None:
    proposals = Proposals(origin=1)
    lost = proposals.add(put(), deadline=10)
    proposals.handed_over(proposals.next_batch(), term=3)
    waiting = proposals.add(put(), deadline=10)
    proposals.term_applied(3)
    assert not lost.done()
    proposals.term_applied(4)
    with pytest.raises(TimeoutDueToLeaderFail):
        await lost
    assert not waiting.done(), "it was never handed over, so it still can be"
    proposals.expire(now=11)
    with pytest.raises(RequestTimeout):
        await waiting


def ask(barrier: ReadBarrier, now: float = 0) -> asyncio.Future[None]:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    barrier.wait(waiter, now, deadline=now + 7)
    return waiter


async def test_reads_share_a_question_but_never_an_older_answer() -> None:
    asked: list[bytes] = []
    barrier = ReadBarrier(asked.append)
    first = [ask(barrier) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(asked) == 1
    late = ask(barrier)
    barrier.answered(Read(1, asked[0], 7), 0)
    barrier.applied(6)
    assert not any(waiter.done() for waiter in first)
    barrier.applied(7)
    await asyncio.gather(*first)
    assert not late.done()
    assert len(asked) == 2, "the late one has its own question"
    barrier.answered(Read(1, asked[0], 7), 0)
    assert not late.done(), "an answer to the old question does not count"
    barrier.answered(Read(1, asked[1], 7), 0)
    await late


async def test_a_lost_question_is_asked_again() -> None:
    asked: list[bytes] = []
    barrier = ReadBarrier(asked.append)
    waiter = ask(barrier)
    await asyncio.sleep(0)
    barrier.tick(0.1, leader_changed=False)
    assert len(asked) == 1
    barrier.tick(0.1, leader_changed=True)
    barrier.tick(0.7, leader_changed=False)
    assert len(asked) == 3
    barrier.applied(3)
    barrier.answered(Read(1, asked[2], 3), 1)
    await waiter


async def test_an_answer_that_took_longer_than_the_patience_still_counts() -> None:
    """Otherwise nobody reads where a round trip is longer than that: each answer would come too
    late, for a question that had been given up."""
    asked: list[bytes] = []
    barrier = ReadBarrier(asked.append)
    barrier.applied(3)
    waiter = ask(barrier)
    await asyncio.sleep(0)
    barrier.tick(0.6, leader_changed=False)
    barrier.tick(1.2, leader_changed=True)
    late = ask(barrier)
    await asyncio.sleep(0)
    barrier.answered(Read(1, asked[0], 3), 1.3)
    assert waiter.done()
    for context in set(asked[:-1]):
        barrier.answered(Read(1, context, 3), 1.4)
    assert not late.done(), "it came after the first was asked"
    barrier.answered(Read(1, asked[-1], 3), 1.5)
    assert late.done()


async def test_an_answer_from_before_a_restart_is_none_now() -> None:
    asked: list[bytes] = []
    before, now = ReadBarrier(asked.append), ReadBarrier(asked.append)
    ask(before)
    waiter = ask(now)
    await asyncio.sleep(0)
    now.answered(Read(1, asked[0], 3), 0)
    now.applied(3)
    assert not waiter.done()


async def test_a_read_that_waits_too_long_is_told_wherever_it_waits() -> None:
    asked: list[bytes] = []
    barrier = ReadBarrier(asked.append)
    applying = ask(barrier)
    await asyncio.sleep(0)
    barrier.answered(Read(1, asked[0], 9), 0)
    asking = ask(barrier)
    await asyncio.sleep(0)
    following = ask(barrier, now=1)
    barrier.tick(7, leader_changed=False)
    for waiter in (applying, asking):
        with pytest.raises(RequestTimeout):
            await waiter
    barrier.answered(Read(1, asked[-1], 9), 7)
    barrier.applied(9)
    await following


@pytest.mark.parametrize("turns", range(12))
async def test_a_compaction_is_swept_whenever_it_comes_during_a_sweep(turns: int) -> None:
    machine = Machine()
    sweeper = Sweeper(Replica(machine, 0, lambda revision: b""), Lifecycle(raising, ()))
    for _ in range(4):
        machine.apply(put().SerializeToString())
    for revision in (3, 5):
        compact = rpc_pb2.CompactionRequest(revision=revision)
        machine.apply(command_pb2.Command(compaction=compact).SerializeToString())
        sweeper.schedule()
        for _ in range(turns):
            await asyncio.sleep(0)
    await sweeper.swept()
    assert machine.mvcc.swept


def test_an_alarm_of_nobody_about_nothing_is_not_kept() -> None:
    """In a snapshot it would be an empty key, which no database has."""
    machine = Machine()
    for request in (
        rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.ACTIVATE),
        rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=7),
    ):
        machine.apply(command_pb2.Command(alarm=request).SerializeToString())
    assert machine.alarms == {(7, rpc_pb2.NONE)}


def raising(error: BaseException) -> None:
    raise error


def test_ids_follow_from_urls_and_token_not_from_order() -> None:
    text = "m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380"
    members = parse_initial_cluster(text)
    turned = parse_initial_cluster(",".join(reversed(text.split(","))))
    one, two = bootstrap_identity("m1", members, "t"), bootstrap_identity("m2", turned, "t")
    assert one.members == two.members
    assert one.cluster_id == two.cluster_id
    assert one.member_id != two.member_id
    assert bootstrap_identity("m1", members, "other").cluster_id != one.cluster_id


@pytest.mark.parametrize("text", ["m1", "=https://a:1", "m1=ftp://a", "m1=a:2380"])
def test_a_malformed_initial_cluster_names_the_flag(text: str) -> None:
    with pytest.raises(ClusterFlagsError, match="--initial-cluster"):
        parse_initial_cluster(text)


def test_flags_default_as_etcds() -> None:
    config = Config.from_argv(["--name", "m1"])
    assert config.data_dir == Path("m1.etcd")
    assert config.initial_cluster == {"m1": ("http://127.0.0.1:2380",)}
    assert (config.heartbeat_ms, config.election_ms) == (100, 1000)
    assert config.initial_election_tick_advance
    assert config.quota_backend_bytes == 2 << 30
    assert config.watch_progress_notify_seconds == 600


@pytest.mark.parametrize(("flag", "advances"), [("", True), ("=true", True), ("=false", False)])
def test_flags_that_are_true_by_default_can_be_turned_off(flag: str, advances: bool) -> None:
    config = Config.from_argv([f"--initial-election-tick-advance{flag}"])
    assert config.initial_election_tick_advance is advances


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("500ms", 0.5), ("1h30m", 5400), ("1.5s", 1.5)]
)
def test_durations_in_gos_notation(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10m!", "ten minutes"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("least", "records", "entries"),
    [(10_000, 0, 10_000), (10_000, 300_000, 30_000), (10, 10**9, 100_000), (200_000, 1, 200_000)],
)
def test_large_states_are_written_down_less_often(least: int, records: int, entries: int) -> None:
    assert Limits(snapshot_count=least).entries_for(records) == entries
