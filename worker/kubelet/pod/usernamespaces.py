"""Which ids of the node a pod with `hostUsers: false` has: 65,536 of its own.

Follows upstream's `userns` manager: blocks that begin at a multiple of 65,536, never the first one,
which is the node's. A pod's block is written beside its volumes, in upstream's form, before it is
used, so that a restarted kubelet gives nobody a block that a living pod has.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from kube.component.log import get_logger
from kube.stubs.cri import api_pb2 as cri
from worker.kubelet.pod import names

log = get_logger(__name__)
LENGTH = 65_536
_FILE = "userns"
_MAX_BYTES = 4096


class NoUserNamespace(Exception):
    """The node cannot give one; the text is upstream's."""


class _Mapping(msgspec.Struct, frozen=True, rename="camel"):
    host_id: int
    container_id: int
    length: int


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    uid_mappings: tuple[_Mapping, ...]
    gid_mappings: tuple[_Mapping, ...]


class UserNamespaces:
    def __init__(self, root: Path, blocks: int) -> None:
        self._root = root
        self._blocks = blocks
        self._taken: dict[str, int] = {}
        for uid in _pods(root):
            self._restore(uid)

    def _restore(self, uid: str) -> None:
        try:
            with self._file(uid).open("rb") as file:
                record = msgspec.json.decode(file.read(_MAX_BYTES), type=_Record)
            block = self._block(record)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log.warning("user namespace of a pod not known", uid=uid, error=str(error))
            return
        self._taken[uid] = block

    def _block(self, record: _Record) -> int:
        if len(record.uid_mappings) != 1 or record.uid_mappings != record.gid_mappings:
            raise ValueError("not one mapping for both")
        (only,) = record.uid_mappings
        block, rest = divmod(only.host_id, LENGTH)
        if rest or not block or only.length != LENGTH or only.container_id:
            raise ValueError(f"not a block of {LENGTH} ids")
        if block in self._taken.values():
            raise ValueError("another pod has this block")
        return block

    def of(self, uid: str) -> cri.UserNamespace:
        """The pod's, chosen and written down the first time. Raises NoUserNamespace."""
        block = self._taken.get(uid) or self._choose(uid)
        ids = [cri.IDMapping(host_id=block * LENGTH, container_id=0, length=LENGTH)]
        return cri.UserNamespace(mode=cri.POD, uids=ids, gids=ids)

    def _choose(self, uid: str) -> int:
        taken = set(self._taken.values())
        block = next((b for b in range(1, self._blocks + 1) if b not in taken), None)
        if block is None:
            raise NoUserNamespace("could not find an empty slot to allocate a user namespace")
        ids = (_Mapping(block * LENGTH, 0, LENGTH),)
        path = self._file(uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_bytes(msgspec.json.encode(_Record(ids, ids)))
        scratch.rename(path)
        self._taken[uid] = block
        return block

    def release(self, uid: str) -> None:
        """Nothing of the pod is left; its directory, and the record in it, went before."""
        self._taken.pop(uid, None)

    def _file(self, uid: str) -> Path:
        return names.pod_dir(self._root, uid) / _FILE


def _pods(root: Path) -> list[str]:
    base = root / "pods"
    return [path.name for path in base.iterdir()] if base.is_dir() else []
