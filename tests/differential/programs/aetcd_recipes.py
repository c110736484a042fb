"""Watch, lease and lock recipes of aetcd, an asyncio client of etcd, as its documentation has them.

Run as a program with the port of one member: it must not share a process with our own stubs,
which register the same messages. What it prints is the same on every etcd.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aetcd


def say(*words: object) -> None:
    print(*words, flush=True)


async def watch_recipes(client: aetcd.Client) -> None:
    first = (await client.put(b"w/1", b"a")).header.revision
    watching = await client.watch_prefix(b"w/", start_revision=first, prev_kv=True)
    await client.put(b"w/1", b"b")
    await client.put(b"w/2", b"c")
    await client.delete(b"w/1")
    seen = 0
    async for event in watching:
        before = event.prev_kv.value if event.prev_kv else None
        say("event", event.kind, event.kv.key, event.kv.value, event.kv.version, before)
        seen += 1
        if seen == 4:
            await watching.cancel()
    deleted = await client.watch_once(
        b"w/1", start_revision=first, kind=aetcd.EventKind.DELETE, timeout=60
    )
    say("deleted at", deleted.kv.mod_revision - first)
    try:
        await client.watch_once(b"w/never", timeout=0.2)
    except aetcd.WatchTimeoutError:
        say("nothing was to be seen")
    many = [await client.watch(b"m/%d" % number) for number in range(20)]
    for number in range(20):
        await client.put(b"m/%d" % number, b"x")
    for watch in many:
        async for event in watch:
            say("many", event.kv.key)
            await watch.cancel()
    await client.compact(first + 2, physical=True)
    try:
        async for event in await client.watch(b"w/1", start_revision=first):
            say("not expected", event)
    except aetcd.RevisionCompactedError as error:
        say("compacted at", error.compacted_revision - first)


async def lease_recipes(client: aetcd.Client) -> None:
    lease = await client.lease(300)
    await client.put(b"l/1", b"x", lease=lease)
    await client.put(b"l/2", b"x", lease=lease)
    say("granted", await lease.granted_ttl(), sorted(await lease.keys()))
    refreshed = await lease.refresh()
    say("refreshed", refreshed.TTL)
    await lease.revoke()
    say("after the lease", len((await client.get_prefix(b"l/")).kvs))
    chosen = await client.lease(300, lease_id=4711)
    try:
        await client.lease(300, lease_id=4711)
    except aetcd.DuplicateLeaseError:
        say("duplicate lease")
    await chosen.revoke()
    say("gone", (await chosen.refresh()).TTL)
    short = await client.lease(2)
    revision = (await client.put(b"l/short", b"x", lease=short)).header.revision
    event = await client.watch_once(
        b"l/short", start_revision=revision + 1, kind=aetcd.EventKind.DELETE, timeout=60
    )
    say("expired", event.kind, event.kv.key)


async def lock_recipes(client: aetcd.Client, other: aetcd.Client) -> None:
    first, second = client.lock(b"lock", ttl=30), other.lock(b"lock", ttl=30)
    say("first", await first.acquire(), await first.is_acquired())
    say("second at once", await second.acquire(timeout=0))
    waiting = asyncio.create_task(second.acquire(timeout=60))
    say("released", await first.release())
    say("second then", await waiting, await first.is_acquired(), await second.is_acquired())
    say("refreshed", (await second.refresh()).TTL)
    say("released", await second.release(), await first.release())
    inside = 0

    async def work(worker: aetcd.Client, name: int) -> None:
        nonlocal inside
        async with worker.lock(b"shared", ttl=30):
            inside += 1
            assert inside == 1, "two hold the lock"
            await worker.put(b"worker", b"%d" % name)
            inside -= 1

    await asyncio.gather(*(work((client, other)[number % 2], number) for number in range(6)))
    say("workers", (await client.get(b"worker")).version)
    dying = client.lock(b"dying", ttl=2)
    await dying.acquire()
    say("taken over", await other.lock(b"dying", ttl=5).acquire(timeout=60))


async def transactions(client: aetcd.Client) -> None:
    what: Any = client.transactions
    await client.put(b"t", b"1")
    say("replaced", await client.replace(b"t", b"1", b"2"), await client.replace(b"t", b"1", b"3"))
    succeeded, answers = await client.transaction(
        compare=[what.value(b"t") == b"2", what.version(b"t") > 1],
        success=[what.put(b"t", b"4"), what.get(b"t")],
        failure=[what.delete(b"t")],
    )
    say("transaction", succeeded, len(answers), (await client.get(b"t")).value)
    listed = await client.get_range(b"m/", b"m0", sort_order="descend", sort_target="mod")
    say("sorted", [kv.key for kv in listed.kvs][:3], listed.count)
    say("deleted", (await client.delete_range(b"m/", b"m0")).deleted)
    members = [member async for member in client.members()]
    say("members", len(members), sorted(member.name for member in members))
    say("alarms", [alarm async for alarm in client.list_alarms()])


async def main(port: int) -> None:
    async with aetcd.Client(port=port) as client, aetcd.Client(port=port) as other:
        await watch_recipes(client)
        await lease_recipes(client)
        await lock_recipes(client, other)
        await transactions(client)
    say("done")


asyncio.run(main(int(sys.argv[1])))
