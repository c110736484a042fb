"""Events on their way: whole revisions in order, numbered, bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

# Beyond this nobody's events are queued any further. Who is behind is not cancelled: it reads the
# history again when its client has taken what is there.
MAX_PENDING_EVENTS = 4096
MAX_PENDING_BYTES = 8 << 20
# One response holds whole revisions up to about this size; a client that allows fragments gets
# a larger revision in pieces.
MAX_RESPONSE_BYTES = 1_500_000


@dataclass(frozen=True, slots=True)
class Batch:
    """All events of one revision, each an encoded field of WatchResponse."""

    revision: int
    events: list[bytes]
    size: int

    @classmethod
    def of(cls, revision: int, events: list[bytes]) -> Batch:
        return cls(revision, events, sum(map(len, events)))


@dataclass(slots=True)
class Queue:
    """Batches by running numbers; readers remember the number that they want next."""

    first: int = 0  # the number of the oldest batch
    events: int = 0
    bytes: int = 0
    batches: list[Batch] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + len(self.batches)

    @property
    def full(self) -> bool:
        return self.events >= MAX_PENDING_EVENTS or self.bytes >= MAX_PENDING_BYTES

    def append(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.events += len(batch.events)
        self.bytes += batch.size

    def drop_until(self, number: int) -> None:
        for batch in self.batches[: number - self.first]:
            self.events -= len(batch.events)
            self.bytes -= batch.size
        del self.batches[: number - self.first]
        self.first = number

    def since(self, number: int) -> list[Batch]:
        return self.batches[number - self.first :]

    def gather(self, number: int) -> tuple[int, Batch]:
        """The whole revisions from `number` on that fit into one response, as one batch, and
        the number after them."""
        at = number - self.first
        revision, size = self.batches[at].revision, self.batches[at].size
        events = list(self.batches[at].events)
        for batch in self.batches[at + 1 :]:
            if size + batch.size > MAX_RESPONSE_BYTES:
                break
            events += batch.events
            revision, size = batch.revision, size + batch.size
            number += 1
        return number + 1, Batch(revision, events, size)
