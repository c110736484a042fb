"""Frames that come in one chunk are written one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from master.apiserver.rest.frames import FrameCutter, frame_size


def frame(payload: bytes) -> bytes:
    """An unmasked binary frame, as servers send."""
    size = len(payload)
    if size < 126:
        return bytes([0x82, size]) + payload
    if size < 65536:
        return bytes([0x82, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x82, 127]) + size.to_bytes(8, "big") + payload


def test_each_frame_is_a_piece_of_its_own() -> None:
    frames = [frame(b"\x01out"), frame(b""), frame(b"\x03" + b"x" * 300), b"\x88\x02\x03\xe8"]
    assert FrameCutter().cut(b"".join(frames)) == frames


def test_a_large_payload_is_not_held_back() -> None:
    whole = frame(b"y" * 70_000)
    cutter = FrameCutter()
    assert cutter.cut(whole[:100]) == [whole[:100]]
    assert cutter.cut(whole[100:] + frame(b"z")) == [whole[100:], frame(b"z")]


def test_a_masked_frame_counts_its_mask() -> None:
    assert frame_size(b"\x82\x83mask") == 9


@given(st.lists(st.binary(max_size=200), max_size=6), st.data())
def test_nothing_is_lost_and_no_piece_spans_two_frames(
    payloads: list[bytes], data: st.DataObject
) -> None:
    frames = [frame(p) for p in payloads]
    stream = b"".join(frames)
    ends = {sum(map(len, frames[: i + 1])) for i in range(len(frames))}
    cutter, at, pieces = FrameCutter(), 0, []
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        pieces += cutter.cut(stream[at : at + step])
        at += step
    assert b"".join(pieces) == stream
    position = 0
    for piece in pieces:
        inside = range(position + 1, position + len(piece))
        assert not ends & set(inside)
        position += len(piece)
