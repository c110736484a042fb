"""Etcd's promises for watches, judged against the history: ordered, unique, reliable, atomic,
resumable, bookmarkable, and prev_kv."""

from __future__ import annotations

from tests.robustness.history import Event, Response, Watch
from tests.robustness.revisions import Revisions


def watch_problems(
    watch: Watch, history: Revisions, final_revision: int, compacted: int
) -> list[str]:
    """`compacted`: the highest revision up to which anybody asked to compact."""
    problems = []
    reached = 0
    for number, session in enumerate(watch.sessions):
        judged = SessionJudge(watch, session.start, history, compacted)
        for response in session.responses:
            judged.take(response)
        if session.compacted:
            judged.end_as_compacted(session.compacted)
        problems += [f"watch {watch.name}, session {number}: {p}" for p in judged.problems]
        reached = judged.next - 1
    if reached < final_revision:
        problems.append(
            f"watch {watch.name} was told nothing beyond revision {reached}, "
            f"though {final_revision} has happened"
        )
    return problems


class SessionJudge:
    """One session, response by response. `compacted` may be raised as time goes on."""

    def __init__(self, watch: Watch, start: int, history: Revisions, compacted: int) -> None:
        self.problems: list[str] = []
        self.next = start  # all before it that is wanted was delivered
        self.compacted = compacted
        self._watch = watch
        self._history = history
        self._partial = 0  # the revision of which a fragment came

    def take(self, response: Response) -> None:
        if response.events:
            self._take(response.events, response.revision, fragment=response.fragment)
        else:
            self._bookmark(response.revision)

    def end_as_compacted(self, revision: int) -> None:
        if not self.next <= revision <= self.compacted:
            self.problems.append(
                f"ended as compacted at {revision}; it had got to {self.next}, and "
                f"compaction was asked up to {self.compacted}"
            )

    def _take(self, events: list[Event], header: int, *, fragment: bool) -> None:
        revisions = [event.mod for event in events]
        if revisions != sorted(revisions):
            self.problems.append(f"not ordered: {revisions}")
            return
        if revisions[0] < self.next and revisions[0] != self._partial:
            self.problems.append(
                f"revision {revisions[0]} came again, or late: {self.next - 1} was reached"
            )
            self.next = max(self.next, revisions[-1] + 1)
            return
        if header < revisions[-1]:
            self.problems.append(f"header of revision {header} for events of {revisions[-1]}")
        wanted = [
            event
            for revision in range(self.next, revisions[-1] + 1)
            for event in self._history.events.get(revision, [])
            if self._watch.wants(event)
        ]
        if self._partial or fragment:
            # Only this harness's small events are sent: fragments would be news.
            self.problems.append("fragmented, though small")
        if [_plain(event) for event in events] != [_plain(event) for event in wanted]:
            self.problems.append(self._difference(events, wanted))
        self._check_previous(events, wanted)
        self.next = revisions[-1] + 1

    def _difference(self, events: list[Event], wanted: list[Event]) -> str:
        came, due = {_plain(e) for e in events}, {_plain(e) for e in wanted}
        if came == due:
            return f"repeated or in another order within {events[0].mod} to {events[-1].mod}"
        return (
            f"lost {sorted(due - came, key=str)}, not in the history {sorted(came - due, key=str)}"
        )

    def _check_previous(self, events: list[Event], wanted: list[Event]) -> None:
        if not self._watch.prev_kv:
            if any(event.previous is not None for event in events):
                self.problems.append("prev_kv came without being asked for")
            return
        for event in events:
            before = self._history.at(event.key, event.mod - 1)
            known = (before.value or "", before.mod) if before is not None else None
            # What was compacted meanwhile cannot be told any more.
            if event.previous != known and not (
                event.previous is None and event.mod - 1 <= self.compacted
            ):
                self.problems.append(
                    f"revision {event.mod}: prev_kv of {event.key} is {event.previous}, not {known}"
                )

    def _bookmark(self, revision: int) -> None:
        """A progress notification: all up to its revision has been sent."""
        missing = [
            event.mod
            for number in range(self.next, revision + 1)
            for event in self._history.events.get(number, [])
            if self._watch.wants(event)
        ]
        if missing:
            self.problems.append(
                f"progress to {revision} was told before the events of {missing[:10]} were sent"
            )
        self.next = max(self.next, revision + 1)


def _plain(event: Event) -> tuple[str, str | None, int, int, int, int]:
    return (event.key, event.value, event.mod, event.create, event.version, event.lease)
