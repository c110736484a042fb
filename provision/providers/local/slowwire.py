"""A cable on which frames are late: `python -m provision.providers.local.slowwire SPEC.json`.

What tc-netem(8) does where the kernel has it, for every kernel. Runs in the lab's network namespace
as a process of its own, small and of the standard library only. The machine's port leaves the
bridge, and a TAP device takes its place there; every frame that comes out of one of them waits its
time and goes into the other:

    machine eth0 === port | AF_PACKET   this process   TAP | bridge

Frames keep what the kernel knows of them (virtio_net_hdr: checksums that are still to be made,
segments that are still to be cut), so that no offload has to be switched off in the machine. When
the process ends the TAP is gone; who ended it plugs the port into the bridge again.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import TypedDict

from provision.providers.local import processes

_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_OFFLOADS = 0x01 | 0x02 | 0x04  # TUN_F_CSUM, TSO4, TSO6
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_PACKET_ADD_MEMBERSHIP, _PACKET_MR_PROMISC = 1, 1
_ETH_P_ALL = 0x0003
_HEADER = 10  # struct virtio_net_hdr
_FRAME = 65536 + 64 + _HEADER
# More than this waits nowhere: the newest are lost, as on a full queue.
_MOST_BYTES = 32 << 20
_GONE = (errno.ENODEV, errno.ENETDOWN, errno.ENXIO, errno.EBADFD)


class WireSpec(TypedDict):
    """What is to happen to a machine's frames, in each direction."""

    port: str
    tap: str
    delay_ms: float
    jitter_ms: float  # more or less, evenly spread
    duplicate_percent: float
    reorder_percent: float  # so many overtake those that wait
    record: str  # where it writes which process it is, once it works


class Lateness:
    """When a frame leaves that has come now. Of several copies each has its own time. Pure."""

    def __init__(self, spec: WireSpec, chance: random.Random) -> None:
        self._spec = spec
        self._chance = chance

    def leaves(self, now: float) -> list[float]:
        spec, chance = self._spec, self._chance
        copies = 2 if chance.random() * 100 < spec["duplicate_percent"] else 1
        return [now + self._wait() for _ in range(copies)]

    def _wait(self) -> float:
        spec, chance = self._spec, self._chance
        if chance.random() * 100 < spec["reorder_percent"]:
            return 0.0
        spread = spec["jitter_ms"] * (2 * chance.random() - 1)
        return max(0.0, spec["delay_ms"] + spread) / 1000


class Queue:
    """Frames that wait, by the time at which they leave; those of one time in their order."""

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._count = self._bytes = 0

    def put(self, now: float, target: int, frame: bytes) -> None:
        for when in self._lateness.leaves(now):
            if self._bytes + len(frame) <= _MOST_BYTES:
                self._count += 1
                self._bytes += len(frame)
                heapq.heappush(self._waiting, (when, self._count, target, frame))

    def due(self, now: float) -> tuple[int, bytes] | None:
        if not self._waiting or self._waiting[0][0] > now:
            return None
        _, _, target, frame = heapq.heappop(self._waiting)
        self._bytes -= len(frame)
        return target, frame

    def pause(self, now: float) -> float | None:
        """How long until the next leaves; None for nobody."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def open_tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("i", _HEADER))
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS)
    return descriptor


def open_port(name: str) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    port.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    port.bind((name, _ETH_P_ALL))
    index = socket.if_nametoindex(name)
    everything = struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
    port.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, everything)
    return port


def carry(port: int, tap: int, queue: Queue) -> None:
    """Carry frames between the two descriptors until one of them is gone."""
    other = {port: tap, tap: port}
    poll = select.poll()
    for descriptor in other:
        poll.register(descriptor, select.POLLIN)
    while True:
        pause = queue.pause(time.monotonic())
        # A whole millisecond is poll's finest; a frame is rather late than the loop busy.
        for descriptor, _ in poll.poll(None if pause is None else pause * 1000 + 1):
            for frame in _frames(descriptor):
                queue.put(time.monotonic(), other[descriptor], frame)
        while (leaving := queue.due(time.monotonic())) is not None:
            _send(*leaving)


def _frames(descriptor: int) -> list[bytes]:
    """What is there to read, in a bounded number."""
    found: list[bytes] = []
    while len(found) < 64:
        try:
            found.append(os.read(descriptor, _FRAME))
        except BlockingIOError:
            break
    return found


def _send(descriptor: int, frame: bytes) -> None:
    try:
        os.write(descriptor, frame)
    except OSError as error:
        if error.errno in _GONE:
            raise
        # A full queue, or a frame that this side does not take: lost, as on a wire.


def main() -> int:
    file = Path(sys.argv[1])
    spec: WireSpec = json.loads(file.read_text())
    port, tap = open_port(spec["port"]), open_tap(spec["tap"])
    queue = Queue(Lateness(spec, random.Random()))  # noqa: S311 - no secret is made of it
    record = Path(spec["record"])
    processes.write_record(record, processes.describe(os.getpid()))
    if not file.exists():  # taken back before it began: nobody looks for its record any more
        record.unlink(missing_ok=True)
        return 0
    try:
        carry(port.fileno(), tap, queue)
    except OSError as error:
        if error.errno not in _GONE:  # the machine lost its power, and its port with it
            raise
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
