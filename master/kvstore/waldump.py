"""The log of a member in lines that a human reads. Changes nothing, so it may run beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kube.stubs.etcd import command_pb2
from master.kvstore.raft.messages import Entry, EntryKind, SnapshotMeta
from master.kvstore.wal import record
from master.kvstore.wal.log import Batch, Identity, segment_files
from master.kvstore.wal.record import Record, RecordKind

_SHOWN_BYTES = 60


def lines(data_dir: Path) -> Iterator[str]:
    """All segments in order. What cannot be read ends its segment with a line that says so."""
    for path in segment_files(data_dir / "member" / "wal"):
        data = path.read_bytes()
        end = 0
        last = 0
        yield f"segment {path.name}"
        for item in record.read(data):
            end, last = item.end, item.sequence
            yield from _record_lines(item)
        if end < len(data):
            torn = record.is_torn_tail(data, end, last)
            yield f"  {len(data) - end} bytes at {end} are {'a torn tail' if torn else 'DAMAGED'}"


def _record_lines(item: Record) -> Iterator[str]:
    match item.kind:
        case RecordKind.IDENTITY:
            identity = msgspec.msgpack.decode(item.payload, type=Identity)
            yield f"  identity cluster={identity.cluster_id:x} member={identity.member_id:x}"
        case RecordKind.SNAPSHOT:
            meta = msgspec.msgpack.decode(item.payload, type=SnapshotMeta)
            yield f"  snapshot index={meta.index} term={meta.term}"
        case RecordKind.BATCH:
            batch = msgspec.msgpack.decode(item.payload, type=Batch)
            state = batch.hard_state
            yield f"  state term={state.term} vote={state.vote:x} commit={state.commit}"
            for entry in batch.entries:
                yield f"  {entry.term}/{entry.index} {describe(entry)}"


def describe(entry: Entry) -> str:
    """One entry's command: `put key=b'a' value=3 bytes`."""
    if not entry.data:
        return "leave-joint" if entry.kind is EntryKind.CONFIG else "new leader"
    command = command_pb2.Command.FromString(entry.data)
    kind = command.WhichOneof("request")
    if kind is None:
        return "nothing known"
    return f"{kind} {_brief(getattr(command, kind))}".rstrip()


def _brief(request: Any) -> str:
    return " ".join(
        f"{field.name}={_value(field.name, value)}" for field, value in request.ListFields()
    )


def _value(name: str, value: Any) -> str:
    if name in ("hashedPassword", "password", "token"):
        return "(secret)"
    text = repr(value) if isinstance(value, bytes | str | int) else " ".join(str(value).split())
    return text if len(text) <= _SHOWN_BYTES else f"{text[:_SHOWN_BYTES]}..."
