"""A bridge in a network namespace of its own, and a namespace for each member, plugged into it.

The harness moves into the bridge's namespace, so it reaches every member also while the members
do not reach each other. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

PREFIX = "robust"
_CLONE_NEWNET = 0x40000000
_SUBNET = "10.111.0"
_RELAYS = "10.111.1"
_HUB = 254
_BITS = 16  # both are one network


def address_of(slot: int) -> str:
    return f"{_SUBNET}.{slot}"


def relay_address_of(slot: int) -> str:
    """Where the harness's relay stands for the member of that slot, towards the others."""
    return f"{_RELAYS}.{slot}"


def slot_of(address: str) -> int:
    """Who it is that has this address; 0: no member."""
    subnet, _, number = address.rpartition(".")
    return int(number) if subnet == _SUBNET and int(number) < _HUB else 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def remove_leftovers() -> None:
    """Namespaces of harnesses that were killed."""
    for path in Path("/run/netns").glob(f"{PREFIX}*-*"):
        pid = path.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _ip("netns", "del", path.name)


class Network:
    """Slots 1 to `count`, for one member each."""

    def __init__(self, count: int) -> None:
        self._name = f"{PREFIX}{os.getpid()}"
        self._slots = range(1, count + 1)
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)

    def __enter__(self) -> Network:
        remove_leftovers()
        try:
            _ip("netns", "add", self._hub)
            _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
            own = [address_of(_HUB), *map(relay_address_of, self._slots)]
            for address in own:
                _ip("-n", self._hub, "addr", "add", f"{address}/{_BITS}", "dev", "br0")
            for link in ("lo", "br0"):
                _ip("-n", self._hub, "link", "set", link, "up")
            for slot in self._slots:
                self._plug(slot)
            self._enter(Path("/run/netns", self._hub))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _setns(self._home)
        os.close(self._home)
        for name in [*map(self.namespace, self._slots), self._hub]:
            if Path("/run/netns", name).exists():
                _ip("netns", "del", name)

    @property
    def _hub(self) -> str:
        return f"{self._name}-hub"

    def namespace(self, slot: int) -> str:
        return f"{self._name}-{slot}"

    def _plug(self, slot: int) -> None:
        name = self.namespace(slot)
        _ip("netns", "add", name)
        # A fixed hardware address: nobody's memory of it can be out of date.
        hardware = f"02:6d:72:00:00:{slot:02x}"
        _ip(
            "-n", self._hub, "link", "add", f"p{slot}", "type", "veth",
            "peer", "name", "eth0", "address", hardware, "netns", name,
        )  # fmt: skip
        _ip("-n", self._hub, "link", "set", f"p{slot}", "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{address_of(slot)}/{_BITS}", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", name, "link", "set", link, "up")

    def _enter(self, namespace: Path) -> None:
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            _setns(descriptor)
        finally:
            os.close(descriptor)

    def inside(self, slot: int, *command: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.namespace(slot)}", *command]

    # --- faults

    def unplug(self, slot: int) -> None:
        """Nobody reaches the member, clients included."""
        _ip("-n", self._hub, "link", "set", f"p{slot}", "down")

    def plug_in(self, slot: int) -> None:
        _ip("-n", self._hub, "link", "set", f"p{slot}", "up")

    def drop(
        self, slot: int, *, senders: Iterable[int] = (), receivers: Iterable[int] = ()
    ) -> None:
        """The member hears nothing of `senders`, and `receivers` hear nothing of it."""
        rules = []
        for of in (address_of, relay_address_of):
            rules += [f"-A INPUT -s {of(other)} -j DROP" for other in senders]
            rules += [f"-A OUTPUT -d {of(other)} -j DROP" for other in receivers]
        self._filter(slot, rules)

    def pass_all(self, slot: int) -> None:
        self._filter(slot, [])

    def _filter(self, slot: int, rules: list[str]) -> None:
        text = "\n".join(["*filter", *rules, "COMMIT", ""])
        subprocess.run(
            self.inside(slot, "iptables-restore", "-w"),
            input=text, check=True, capture_output=True, text=True,
        )  # fmt: skip


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
