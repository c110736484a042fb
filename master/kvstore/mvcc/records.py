"""One stored version of a key, encoded once, and the event that its writing was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec

from kube.stubs.etcd import kv_pb2

# mvccpb.KeyValue: 1 key, 2 create_revision, 3 mod_revision, 4 version, 5 value.
_PLAIN_PAIR = b"\x0a%b%b\x10%b\x18%b\x20%b\x2a%b%b"


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A version of a key. `encoded` is its mvccpb.KeyValue; snapshots hold records as they are.

    `mod` is the revision that wrote it and `sub` its place among that revision's writes.
    """

    key: bytes
    mod: int
    sub: int
    create: int
    version: int
    lease: int
    encoded: bytes
    tombstone: bool = False

    @property
    def size(self) -> int:
        return len(self.encoded) + len(self.key)

    def value(self) -> bytes:
        return kv_pb2.KeyValue.FromString(self.encoded).value

    def without_value(self) -> bytes:
        return kv_pb2.KeyValue(
            key=self.key,
            create_revision=self.create,
            mod_revision=self.mod,
            version=self.version,
            lease=self.lease,
        ).SerializeToString()


def written(
    key: bytes, value: bytes, lease: int, mod: int, sub: int, prev: Record | None
) -> Record:
    create = prev.create if prev else mod
    version = prev.version + 1 if prev else 1
    if value and not lease:  # nearly always: by hand it takes half of the time
        encoded = _PLAIN_PAIR % (
            varint(len(key)), key, varint(create), varint(mod), varint(version),
            varint(len(value)), value,
        )  # fmt: skip
    else:
        encoded = kv_pb2.KeyValue(
            key=key,
            create_revision=create,
            mod_revision=mod,
            version=version,
            value=value,
            lease=lease,
        ).SerializeToString()
    return Record(key, mod, sub, create, version, lease, encoded)


def first_versions(mod: int) -> Callable[[bytes, bytes, int], Record]:
    """As `written` without a lease, for keys that are not there: a transaction writes many of them
    at one revision, and between key and value they say the same."""
    revision = varint(mod)
    between = b"\x10%b\x18%b\x20\x01\x2a" % (revision, revision)

    def first(key: bytes, value: bytes, sub: int) -> Record:
        if not value:
            return written(key, value, 0, mod, sub, None)
        parts = (b"\x0a", varint(len(key)), key, between, varint(len(value)), value)
        encoded = b"".join(parts)  # a third faster than %, which does not know the length before
        return Record(key, mod, sub, mod, 1, 0, encoded)

    return first


def deleted(key: bytes, mod: int, sub: int) -> Record:
    """A tombstone. Its event carries the key and the revision of the deletion, nothing else."""
    encoded = kv_pb2.KeyValue(key=key, mod_revision=mod).SerializeToString()
    return Record(key, mod, sub, 0, 0, 0, encoded, tombstone=True)


class Change(msgspec.Struct, eq=False, gc=False):
    """A record and what it replaced. Its event is encoded at most once per form."""

    record: Record
    prev: Record | None
    _plain: bytes | None = None
    _with_prev: bytes | None = None

    def event(self, *, prev_kv: bool) -> bytes:
        """The encoded mvccpb.Event (fields: 1 type, 2 kv, 3 prev_kv), written by hand because
        its parts are encoded already."""
        if self._plain is None:
            kind = b"\x08\x01" if self.record.tombstone else b""
            self._plain = kind + field(b"\x12", self.record.encoded)
        if not prev_kv or self.prev is None:
            return self._plain
        if self._with_prev is None:
            self._with_prev = self._plain + field(b"\x1a", self.prev.encoded)
        return self._with_prev


def field(tag: bytes, payload: bytes) -> bytes:
    """A field of a protobuf message whose value is encoded already."""
    return tag + varint(len(payload)) + payload


def fields(tag: bytes, payloads: Iterable[bytes]) -> bytes:
    """A repeated field."""
    parts: list[bytes] = []
    for payload in payloads:
        parts += (tag, varint(len(payload)), payload)
    return b"".join(parts)


@lru_cache(maxsize=1 << 14)
def varint(number: int) -> bytes:
    """Lengths and recent revisions come again and again."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
