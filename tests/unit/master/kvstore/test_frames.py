"""Frames between members: however the bytes arrive, what was sent comes out, once and whole."""

from __future__ import annotations

import asyncio
import random

import pytest

from master.kvstore.raft.messages import Entry, Message, MessageType
from master.kvstore.transport import frames
from master.kvstore.transport.frames import BadFrame, FrameReader, Request, Response


def batch(number: int, size: int) -> tuple[Message, ...]:
    entry = Entry(1, number, bytes([number % 256]) * size)
    return (Message(MessageType.APPEND, 2, 1, 1, number, entries=(entry,)),)


@pytest.mark.parametrize("seed", range(20))
async def test_any_pieces_give_the_same_frames(seed: int) -> None:
    rng = random.Random(seed)
    sent: list[frames.Frame] = []
    for number in range(30):
        kinds = (
            batch(number, rng.choice((0, 5, 3000))),
            Request(number, "ping"),
            Response(1, True),
        )
        sent.append(rng.choice(kinds))
    data = b"".join(map(frames.encode, sent))
    reader = FrameReader()
    delivered: list[tuple[Message, ...]] = []
    sizes: list[int] = []

    def deliver(messages: tuple[Message, ...], size: int) -> None:
        delivered.append(messages)
        sizes.append(size)

    reader.deliver = deliver
    while data:
        length = rng.choice((1, 2, 8, 9, 10, 500, 10_000))
        reader.feed_data(data[:length])
        data = data[length:]
    reader.feed_eof()
    read: list[frames.Frame] = []
    while not reader.at_eof():
        read.append((await frames.read(reader))[0])
    assert delivered == [frame for frame in sent if isinstance(frame, tuple)]
    assert sizes == [len(frames.encode(frame)) for frame in delivered]
    assert read == [frame for frame in sent if not isinstance(frame, tuple)]


async def test_without_a_receiver_messages_wait_for_the_reader() -> None:
    reader = FrameReader()
    reader.feed_data(frames.encode(batch(1, 10)) * 2)
    assert (await frames.read(reader))[0] == batch(1, 10)
    late: list[tuple[Message, ...]] = []
    reader.deliver = lambda messages, _: late.append(messages)
    reader.feed_data(frames.encode(batch(2, 10)))
    assert late == [batch(2, 10)]
    assert (await frames.read(reader))[0] == batch(1, 10)


@pytest.mark.parametrize("flipped", [9, 20, 40])
async def test_a_damaged_batch_ends_the_stream(flipped: int) -> None:
    """The connection is not to be trusted any more: what follows is not looked at."""
    reader = FrameReader()
    delivered: list[tuple[Message, ...]] = []
    reader.deliver = lambda messages, _: delivered.append(messages)
    damaged = bytearray(frames.encode(batch(1, 50)))
    damaged[flipped] ^= 1
    waiting = asyncio.ensure_future(frames.read(reader))
    await asyncio.sleep(0)
    reader.feed_data(bytes(damaged) + frames.encode(batch(2, 10)))
    with pytest.raises(BadFrame):
        await waiting
    reader.feed_data(frames.encode(batch(3, 10)))
    assert delivered == []


async def test_an_impossible_length_is_refused_before_it_is_waited_for() -> None:
    reader = FrameReader()
    reader.deliver = lambda messages, _: None
    reader.feed_data(b"\xff" * 8 + b"\x01")
    with pytest.raises(BadFrame):
        await frames.read(reader)
