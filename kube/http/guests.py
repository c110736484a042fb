"""Who is connected to one listener, and who goes when there is no room. Pure.

A flood comes without a certificate of the cluster: most of it never finishes a TLS handshake. So
those who have shown nothing yet make room for the next one, the oldest of the address that has the
most of them first; then those who came without a certificate. Whoever has shown one is never cut
for somebody else, and no address takes all the places.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_FEW = 16  # places are not worth dividing


class Standing(enum.IntEnum):
    GREETING = 0  # accepted; the TLS handshake is not over
    ANONYMOUS = 1  # without a certificate
    KNOWN = 2


@dataclass(eq=False, slots=True)
class Guest:
    peer: str  # an address without its port; "" is a unix socket
    cut: Callable[[], None]
    standing: Standing = Standing.GREETING


@dataclass(frozen=True, slots=True)
class Places:
    total: int
    per_peer: int
    greeting: int
    anonymous: int

    @classmethod
    def of(cls, total: int, *, tls: bool) -> Places:
        """Half of the places are for those who show a certificate, where one can be shown; a
        quarter is for others than any one address: a lab's components often share one."""
        if total < _FEW:
            return cls(total, total, total, total)
        strangers = total // 2 if tls else total
        return cls(total, total * 3 // 4, strangers, strangers)


class Guests:
    def __init__(self, places: Places) -> None:
        self._places = places
        # Oldest first: a dict keeps its order, and a guest leaves it at once.
        self._by: dict[Standing, dict[str, dict[Guest, None]]] = {one: {} for one in Standing}
        self._count = Counter[Standing]()
        self._per_peer = Counter[str]()

    def __len__(self) -> int:
        return self._per_peer.total()

    def count(self, standing: Standing) -> int:
        return self._count[standing]

    def arrive(self, guest: Guest, *, room: bool = True) -> bool:
        """Whether there is a place, if need be another's, who is cut. `room` says whether the
        process as a whole can have one more connection."""
        crowded = guest.peer and self._per_peer[guest.peer] >= self._places.per_peer
        if crowded and not self._make_room(guest.peer):
            return False
        if (len(self) >= self._places.total or not room) and not self._make_room():
            return False
        if not self._fits(guest.standing):
            self._cut_oldest(guest.standing)
        self._add(guest)
        return True

    def rise(self, guest: Guest, standing: Standing) -> None:
        """The handshake has shown who it is."""
        if not self._remove(guest):
            return  # cut meanwhile
        if not self._fits(standing):
            self._cut_oldest(standing)
        guest.standing = standing
        self._add(guest)

    def leave(self, guest: Guest) -> bool:
        return self._remove(guest)

    # -- places

    def _fits(self, standing: Standing) -> bool:
        if standing is Standing.KNOWN:
            return True
        greeting = standing is Standing.GREETING
        bound = self._places.greeting if greeting else self._places.anonymous
        return self._count[standing] < bound

    def _make_room(self, peer: str = "") -> bool:
        return any(
            self._cut_oldest(standing, peer) for standing in (Standing.GREETING, Standing.ANONYMOUS)
        )

    def _cut_oldest(self, standing: Standing, peer: str = "") -> bool:
        """Of one peer, or of the one that has the most."""
        peers = self._by[standing]
        if not peers or (peer and peer not in peers):
            return False
        crowd = peers[peer or max(peers, key=lambda name: len(peers[name]))]
        oldest = next(iter(crowd))
        self._remove(oldest)
        oldest.cut()
        return True

    def _add(self, guest: Guest) -> None:
        self._by[guest.standing].setdefault(guest.peer, {})[guest] = None
        self._count[guest.standing] += 1
        self._per_peer[guest.peer] += 1

    def _remove(self, guest: Guest) -> bool:
        peers = self._by[guest.standing]
        crowd = peers.get(guest.peer, {})
        if guest not in crowd:
            return False
        del crowd[guest]
        if not crowd:
            del peers[guest.peer]
        self._count[guest.standing] -= 1
        self._per_peer[guest.peer] -= 1
        if not self._per_peer[guest.peer]:
            del self._per_peer[guest.peer]
        return True
