"""The values that Raft's core takes and returns: entries, messages, hard state.

They are msgspec structs with array layout, so that the peer transport and the write-ahead log
encode them in one C pass. New fields go last and have a default: old data stays readable.
"""

from __future__ import annotations

import enum

import msgspec

NOBODY = 0  # a member id that no member has: "no leader", "not voted"


class EntryKind(enum.IntEnum):
    NORMAL = 0
    CONFIG = 1  # a membership change; empty data ends a joint one


class MessageType(enum.IntEnum):
    APPEND = 0
    APPEND_RESPONSE = 1
    HEARTBEAT = 2
    HEARTBEAT_RESPONSE = 3
    PRE_VOTE = 4
    PRE_VOTE_RESPONSE = 5
    VOTE = 6
    VOTE_RESPONSE = 7
    SNAPSHOT = 8
    PROPOSE = 9
    READ_INDEX = 10
    READ_INDEX_RESPONSE = 11
    TIMEOUT_NOW = 12
    COMMIT = 13  # only how far is committed; nobody answers it


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One place in the replicated log. `data` empty is a new leader's no-op (dissertation 6.4)."""

    term: int
    index: int
    data: bytes = b""
    kind: EntryKind = EntryKind.NORMAL


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What must be on disk before a member answers for it (paper, figure 2)."""

    term: int = 0
    vote: int = NOBODY
    commit: int = 0


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """Who votes. `outgoing` is the old set while a joint change is under way (section 6)."""

    voters: frozenset[int] = frozenset()
    outgoing: frozenset[int] = frozenset()
    learners: frozenset[int] = frozenset()

    def everyone(self) -> frozenset[int]:
        return self.voters | self.outgoing | self.learners

    def votes(self, member: int) -> bool:
        return member in self.voters or member in self.outgoing


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True):
    """Which prefix of the log a snapshot replaces. Its bytes never pass through the core."""

    index: int = 0
    term: int = 0
    membership: Membership = Membership()


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Between two members. A field means what the paper's RPC argument of its name means.

    `index` and `log_term` are prevLogIndex/prevLogTerm of an APPEND, the last log position of
    a vote request, the matched (or refused) index of a response and the answer to READ_INDEX.
    """

    type: MessageType
    to: int
    sender: int
    term: int = 0
    index: int = 0
    log_term: int = 0
    commit: int = 0
    reject: bool = False
    hint: int = 0  # of a refused APPEND: where the logs may agree
    entries: tuple[Entry, ...] = ()
    context: bytes = b""  # of reads and heartbeats; of a vote: leadership was handed over
    snapshot: SnapshotMeta | None = None
