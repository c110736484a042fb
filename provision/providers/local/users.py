"""Which users of the host those of a machine are, where machines have user namespaces. Pure.

A machine's 0 to 65,535 are as many of the host's, from a base of the machine's own: root in it is
nobody on the host. The bases lie where systemd puts containers' (uids-gids.md, "UID ranges").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from provision.providers.local.names import machine_netns

COUNT = 65_536
FIRST = 524_288
_BLOCKS = (1_879_048_192 - FIRST) // COUNT


def user_base(lab: str, machines: Sequence[str], machine: str) -> int:
    """The host's user that is `machine`'s root: the same for life, no other machine's of the lab.

    Taken from the names. Two labs may, rarely, draw the same: then those two machines share their
    users, never a host's.
    """
    taken: set[int] = set()
    for name in machines:
        digest = hashlib.sha256(machine_netns(lab, name).encode()).digest()
        block = int.from_bytes(digest[:8]) % _BLOCKS
        while block in taken:
            block = (block + 1) % _BLOCKS
        if name == machine:
            return FIRST + block * COUNT
        taken.add(block)
    raise ValueError(f'no machine "{machine}" among {machines}')
