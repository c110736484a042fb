"""What both stores are asked: data that can be repeated, shortened and printed.

A step names no id of a running cluster. A number near `NOW` stands for a revision near the
newest at that moment, one near `COMPACTED` for one near the last compaction, one near `MEMBER`
for a member's id: so a sequence still means the same when steps before it were dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

NOW, COMPACTED, MEMBER = 1 << 40, 1 << 41, 1 << 42
_NEAR = 1000


@dataclass(frozen=True)
class Asked:
    """Who asks, and where. `user`: whose token goes along; `-name` is the one before the last;
    `?` is nonsense; empty is none. With `certificate` the client shows one, over TLS."""

    member: int = 0
    user: str = ""
    certificate: bool = False
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Call:
    """One call: `bodies` are its messages, encoded ones where they are not to be understood."""

    path: str  # KV/Range
    bodies: tuple[Message | bytes, ...]
    asked: Asked = Asked()
    seconds: float = 15
    compressed: bool = False

    def __str__(self) -> str:
        return f"{self.path} {_who(self.asked)}{' '.join(map(_text, self.bodies))}"


@dataclass(frozen=True)
class Watch:
    """A message on one of the watch streams, which is opened if it is not there yet."""

    stream: int
    body: Message | bytes
    asked: Asked = Asked()

    def __str__(self) -> str:
        return f"Watch stream {self.stream} {_who(self.asked)}{_text(self.body)}"


@dataclass(frozen=True)
class Close:
    """The client has no more to say on a watch stream."""

    stream: int

    def __str__(self) -> str:
        return f"Watch stream {self.stream} closed"


Step = Call | Watch | Close


def _who(asked: Asked) -> str:
    parts = [f"member {asked.member}"] if asked.member else []
    parts += [f"as {asked.user}"] if asked.user else []
    parts += ["with a certificate"] if asked.certificate else []
    parts += [f"{name}={value}" for name, value in asked.metadata]
    return f"({', '.join(parts)}) " if parts else ""


def _text(body: Message | bytes) -> str:
    if isinstance(body, bytes):
        return f"bytes {body[:60]!r}" + (f"... {len(body)}" if len(body) > 60 else "")
    shown = " ".join(str(body).split())
    return f"{{{shown[:1500]}}}"


@dataclass
class Names:
    """What the stand-ins mean at the moment."""

    now: int = 1
    compacted: int = 1
    members: list[int] = field(default_factory=list)
    peer_urls: Mapping[str, str] = field(default_factory=dict)

    def bodies(self, bodies: Iterable[Message | bytes]) -> list[bytes]:
        return [self.body(one) for one in bodies]

    def body(self, body: Message | bytes) -> bytes:
        if isinstance(body, bytes):
            return body
        copy = type(body)()
        copy.CopyFrom(body)
        self._fill(copy)
        return copy.SerializeToString()

    def _fill(self, message: Message) -> None:
        for descriptor, value in message.ListFields():
            if descriptor.is_repeated:
                if descriptor.message_type:
                    for one in value:
                        self._fill(one)
                elif descriptor.type == descriptor.TYPE_STRING:
                    value[:] = [self.peer_urls.get(one, one) for one in value]
            elif descriptor.message_type:
                self._fill(value)
            elif type(value) is int:
                setattr(message, descriptor.name, self._number(value))

    def _number(self, value: int) -> Any:
        for base, meant in ((NOW, self.now), (COMPACTED, self.compacted)):
            if abs(value - base) <= _NEAR:
                return meant + value - base
        if 0 <= value - MEMBER < len(self.members):
            return self.members[value - MEMBER]
        return value
