"""Which sysctls are a pod's own: those of a namespace that it has. Pure.

Written elsewhere they would be the machine's, or, from a machine that is a container, its host's:
`kernel.core_pattern` runs a program there as root.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import InvalidArgument

_OF_IPC = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
           "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced")  # fmt: skip


def check(names: Iterable[str], options: cri.NamespaceOption) -> None:
    """Raises InvalidArgument for a sysctl of a namespace that the pod shares with the machine."""
    for name in names:
        plain = dotted(name)
        if plain.startswith("net."):
            own = options.network != cri.NODE
        elif plain in _OF_IPC or plain.startswith("fs.mqueue."):
            own = options.ipc != cri.NODE
        else:
            own = False
        if not own or ".." in plain:
            raise InvalidArgument(f'sysctl "{name}" is not in a separate kernel namespace')


def dotted(name: str) -> str:
    """The form with dots, of sysctl(8)'s two: the first separator tells which one it is."""
    first = next((c for c in name if c in "./"), ".")
    return name if first == "." else name.replace("/", ".")
