"""Snapshot files, damaged: refused, or read as what was written.

Where the hash was forged to fit, the file may be read as something else, but within bounds, and
nothing but the documented error may come: it may be anybody's database, and pages may lead in
circles.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from kube.stubs.etcd import auth_pb2, command_pb2, rpc_pb2
from master.kvstore import state
from master.kvstore.bolt.page import BRANCH, BRANCH_ELEMENT, HEADER, PAGE_SIZE
from master.kvstore.machine import Machine
from master.kvstore.raft.messages import Membership, SnapshotMeta
from master.kvstore.wal.snapshot import HASH_BYTES, SnapshotCorrupt, SnapshotDirectory
from tools.fuzz.damage import damaged, in_memory, shuffled
from tools.fuzz.essence import essence

_INPUTS = 40  # of each file
_Command = command_pb2.Command


def episode(seed: int) -> int:
    rng = random.Random(seed)
    with in_memory() as scratch:
        machine, meta = _machine(rng), SnapshotMeta(9, 2, Membership(frozenset((1, 2))))
        path = SnapshotDirectory(scratch).save(
            meta, state.plan(state.capture(machine, meta)).pages()
        )
        whole = path.read_bytes()
        while machine.mvcc.sweep(100):  # the file leaves out what a compaction has left for later
            pass
        held = meta, essence(machine)
        assert _loaded(path) == held, "a whole file is read as something else"
        foreign = rng.randbytes(400)
        for number in range(_INPUTS):
            if number % 2:
                path.write_bytes(_forged(rng, whole))
                _loaded(path)
            else:
                broken = damaged(rng, whole, foreign)
                path.write_bytes(broken)
                found = _loaded(path)
                assert found is None or broken == whole, "damage was not noticed"
    return _INPUTS


def _machine(rng: random.Random) -> Machine:
    """A state with something in every bucket."""
    machine = Machine()
    for lease in range(1, rng.randint(1, 4)):
        machine.apply(_bytes(lease_grant=rpc_pb2.LeaseGrantRequest(ID=lease, TTL=60)))
    for _ in range(rng.choice((1, 10, 60))):
        key = rng.choice((b"a", b"b", b"c/%d" % rng.randrange(30)))
        if rng.random() < 0.2:
            machine.apply(_bytes(delete_range=rpc_pb2.DeleteRangeRequest(key=key)))
        else:
            lease = rng.choice((0, 0, *machine.lessor.leases))
            value = rng.randbytes(rng.choice((0, 10, 10, 300, 5000)))
            machine.apply(_bytes(put=rpc_pb2.PutRequest(key=key, value=value, lease=lease)))
    if rng.random() < 0.3:
        revision = rng.randint(1, machine.mvcc.revision)
        machine.apply(_bytes(compaction=rpc_pb2.CompactionRequest(revision=revision)))
    for member in (1, 2):
        url = f"http://127.0.0.1:{member}"
        machine.apply(_bytes(member_add=rpc_pb2.Member(ID=member, name="m", peerURLs=[url])))
    machine.apply(_bytes(user_add=rpc_pb2.AuthUserAddRequest(name="root", hashedPassword="x")))
    machine.apply(_bytes(role_add=rpc_pb2.AuthRoleAddRequest(name="r")))
    permission = auth_pb2.Permission(key=b"a", range_end=b"b")
    grant = rpc_pb2.AuthRoleGrantPermissionRequest(name="r", perm=permission)
    machine.apply(_bytes(role_grant_permission=grant))
    alarm = rpc_pb2.AlarmRequest(
        action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=2, alarm=rpc_pb2.NOSPACE
    )
    machine.apply(_bytes(alarm=alarm))
    return machine


def _bytes(**request: Any) -> bytes:
    return _Command(**request).SerializeToString()


def _forged(rng: random.Random, whole: bytes) -> bytes:
    """Pages damaged where something is, or exchanged; then a hash that fits."""
    content = whole[:-HASH_BYTES]
    pages = [content[at : at + PAGE_SIZE] for at in range(0, len(content), PAGE_SIZE)]
    if rng.random() < 0.2:
        pages = shuffled(rng, pages)
    # By its number, too: a page of a long value may look like anything.
    branches = [page for n, page in enumerate(pages) if HEADER.unpack_from(page)[:2] == (n, BRANCH)]
    if branches and rng.random() < 0.3:
        victim = pages.index(rng.choice(branches))
        pages[victim] = _relinked(rng, pages[victim], len(pages))
    for _ in range(rng.choice((0, 1, 1, 2))):
        if pages:
            victim = rng.randrange(len(pages))
            used = pages[victim].rstrip(b"\0")
            pages[victim] = damaged(rng, used).ljust(PAGE_SIZE, b"\0")[:PAGE_SIZE]
    content = b"".join(pages)
    return content + hashlib.sha256(content).digest()


def _relinked(rng: random.Random, page: bytes, pages: int) -> bytes:
    """A branch that leads to another page, maybe to itself."""
    number, _, count, _ = HEADER.unpack_from(page)
    at = HEADER.size + BRANCH_ELEMENT.size * rng.randrange(count)
    offset, size, _ = BRANCH_ELEMENT.unpack_from(page, at)
    element = BRANCH_ELEMENT.pack(offset, size, rng.choice((number, rng.randrange(pages))))
    return page[:at] + element + page[at + len(element) :]


def _loaded(path: Path) -> tuple[SnapshotMeta | None, dict[str, Any]] | None:
    try:
        meta, machine = state.load(path)
    except SnapshotCorrupt:
        return None
    return meta, essence(machine)
