"""Recipes of etcd-client-py, a client in Rust whose locks are the store's own lock service.

Run as a program with the port of one member. What it prints is the same on every etcd.
"""

from __future__ import annotations

import asyncio
import sys

from etcd_client import (
    Client,
    ClientError,
    Communicator,
    Compare,
    CompareOp,
    CondVar,
    EtcdLockOption,
    Txn,
    TxnOp,
)


def say(*words: object) -> None:
    print(*words, flush=True)


async def watched(client: Client, ready: CondVar, count: int) -> None:
    async with client.connect() as store:
        seen = 0
        async for event in store.watch_prefix(b"rs/", ready_event=ready):
            say("event", event.event, bytes(event.key), bytes(event.value))
            seen += 1
            if seen == count:
                return


async def watches(client: Client, store: Communicator) -> None:
    ready = CondVar()
    task = asyncio.create_task(watched(client, ready, 3))
    await ready.wait()
    await store.put(b"rs/1", b"a")
    await store.put(b"rs/1", b"b")
    await store.delete(b"rs/1")
    await task


async def leases(store: Communicator) -> None:
    """It keeps the ids to itself, but not the errors."""
    await store.lease_grant(300)
    for call in (store.lease_revoke, store.lease_keep_alive):
        try:
            await call(404)
        except ClientError as error:
            say("refused", type(error).__name__, error)


async def locks(client: Client) -> None:
    """Three that want the lock at once, one after the other."""
    inside = 0
    rounds = 0

    async def work() -> None:
        nonlocal inside, rounds
        async with client.with_lock(
            EtcdLockOption(lock_name=b"rust-lock", timeout=60.0, ttl=30)
        ) as store:
            inside += 1
            assert inside == 1, "two hold the lock"
            await store.put(b"rs-worker", b"x")
            inside -= 1
            rounds += 1

    await asyncio.gather(work(), work(), work())
    say("locked", rounds)


async def main(port: int) -> None:
    client = Client([f"http://127.0.0.1:{port}"])
    async with client.connect() as store:
        await watches(client, store)
        await leases(store)
        await store.put(b"t", b"1")
        txn = (
            Txn()
            .when([Compare.value(b"t", CompareOp.EQUAL, b"1")])
            .and_then([TxnOp.put(b"t", b"2"), TxnOp.get(b"t")])
            .or_else([TxnOp.delete(b"t")])
        )
        say("transaction", (await store.txn(txn)).succeeded(), bytes(await store.get(b"t")))
        say("prefix", [(bytes(k), bytes(v)) for k, v in await store.get_prefix(b"t")])
    await locks(client)
    say("done")


asyncio.run(main(int(sys.argv[1])))
