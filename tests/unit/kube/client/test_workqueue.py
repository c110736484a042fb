"""The work queue's promises, by examples and against a model."""

from __future__ import annotations

import asyncio

import pytest

from kube.client.workqueue import FIRST_DELAY, ShutDown, WorkQueue


async def test_a_waiting_key_is_not_queued_twice() -> None:
    queue = WorkQueue("test")
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_is_never_worked_on_twice_at_once() -> None:
    queue = WorkQueue("test")
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_no_key_is_lost_or_doubled_among_many_workers() -> None:
    queue = WorkQueue("test")
    working: set[str] = set()
    seen: dict[str, int] = {}

    async def work() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            assert key not in working
            working.add(key)
            for _ in range(len(key) % 3):
                await asyncio.sleep(0)
            working.discard(key)
            seen[key] = seen.get(key, 0) + 1
            queue.done(key)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(work())
        for round_ in range(20):
            for number in range(30):
                queue.add("k" * (number + 1))
            await asyncio.sleep(0)
            assert round_ >= 0
        while len(queue) or working:
            await asyncio.sleep(0)
        queue.shutdown()
    assert set(seen) == {"k" * (number + 1) for number in range(30)}


async def test_of_two_delays_the_earlier_counts() -> None:
    queue = WorkQueue("test")
    queue.add_after("a", 30.0)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30.0)
    async with asyncio.timeout(60):
        assert await queue.get() == "a"


async def test_failures_double_the_delay_until_forgotten() -> None:
    queue = WorkQueue("test")
    loop = asyncio.get_running_loop()
    waits = []
    for _ in range(4):
        began = loop.time()
        queue.add_rate_limited("a")
        await queue.get()
        waits.append(loop.time() - began)
        queue.done("a")
    for number, wait in enumerate(waits):
        assert wait >= FIRST_DELAY * 2**number * 0.9
    assert queue.failures("a") == 4
    queue.forget("a")
    assert queue.failures("a") == 0


async def test_shutdown_wakes_those_who_wait() -> None:
    queue = WorkQueue("test")
    waiter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shutdown()
    with pytest.raises(ShutDown):
        await waiter


async def test_a_cancelled_worker_does_not_take_its_wake_up_with_it() -> None:
    queue = WorkQueue("test")
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(60):
        assert await second == "a"
