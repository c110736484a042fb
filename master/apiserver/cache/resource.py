"""The cache of one kind: entries in key order, recent events, watchers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec
from sortedcontainers import SortedDict

from kube.component.log import get_logger
from master.apiserver.cache.entry import Entry, Selection, make_entry
from master.apiserver.cache.watcher import Watcher
from master.apiserver.cache.window import ADDED, DELETED, MODIFIED, CacheEvent, Window
from master.apiserver.kinds.kind import AnyKind

log = get_logger(__name__)
# Watchers that pin this field, or the one that the kind names, to one value are only offered the
# events that concern it: with a thousand kubelets each watching its own pods, an event costs two
# look-ups, not a thousand.
_DEFAULT_TRIGGER = "metadata.name"


# How many events may be forgotten before it is looked for watchers that still hold them.
LOOK_EVERY = 128


class ResourceCache:
    def __init__(self, kind: AnyKind) -> None:
        self.kind = kind
        self.trigger = kind.watched_by or _DEFAULT_TRIGGER
        # Whether it has been listed; before that it may lack anything.
        self.filled = False
        # Grows with every change: who derives something from all of it looks whether it is stale.
        self.changes = 0
        self.window = Window(horizon=0)
        self._entries: SortedDict[str, Entry] = SortedDict()
        # The keys by the trigger's value, for kinds that name one: what a node may read is asked
        # of its own pods at each of its requests, and there may be thousands of others'.
        self._indexed = bool(kind.watched_by)
        self._keys: dict[str, set[str]] = {}
        self._watchers: set[Watcher] = set()
        self._pinned: dict[str, set[Watcher]] = defaultdict(set)
        self._forgotten = 0  # events since the watchers were looked at

    # reading

    def get(self, key: str) -> Entry | None:
        found: Entry | None = self._entries.get(key)
        return found

    def select(self, selection: Selection, after: str = "") -> Iterator[Entry]:
        """Matching entries in key order, from the first key after `after`."""
        start = f"{selection.namespace}/" if selection.namespace else ""
        pin = self._pinned_to(selection) if self._indexed else ""
        if pin:
            yield from self._select_pinned(selection, pin, start, after)
            return
        for key in self._entries.irange(max(start, after), inclusive=(False, True)):
            if start and not key.startswith(start):
                return
            entry = self._entries[key]
            if selection.matches(entry):
                yield entry

    def _select_pinned(
        self, selection: Selection, pin: str, start: str, after: str
    ) -> Iterator[Entry]:
        for key in sorted(self._keys.get(pin, ())):
            if key > after and key.startswith(start):
                entry = self.get(key)
                if entry is not None and selection.matches(entry):
                    yield entry

    def everything(self) -> list[Entry]:
        return list(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    # feeding

    def replace(self, stored: list[tuple[str, bytes, int]], revision: int) -> None:
        """Begin anew from a list at `revision`; watches of the lost history end as expired."""
        self.changes += 1
        self._entries = SortedDict(self._readable(stored))
        self._keys.clear()
        for entry in self._entries.values():
            self._index(None, entry)
        self.window = Window(horizon=revision)
        self.filled = True
        self.close_watchers(expired=True)

    def _readable(self, stored: list[tuple[str, bytes, int]]) -> Iterator[tuple[str, Entry]]:
        for key, value, revision in stored:
            try:
                yield key, make_entry(self.kind, key, value, revision)
            except msgspec.MsgspecError as error:  # a foreign value that is no object of ours
                log.error("unreadable object in the store", key=key, error=str(error))

    def redeclare(self, kind: AnyKind) -> None:
        """The kind is declared differently now: selectors see other fields, perhaps."""
        self.kind = kind
        stored = [(e.key, e.stored, e.revision) for e in self._entries.values()]
        self._entries = SortedDict(self._readable(stored))

    def put(self, key: str, value: bytes, revision: int) -> None:
        previous = self.get(key)
        entry = make_entry(self.kind, key, value, revision)
        self.changes += 1
        self._entries[key] = entry
        self._index(previous, entry)
        self._emit(CacheEvent(MODIFIED if previous else ADDED, entry, previous))

    def delete(self, key: str, revision: int) -> None:
        previous: Entry | None = self._entries.pop(key, None)
        if previous is None:
            return
        self.changes += 1
        self._index(previous, None)
        # The last state is sent with the revision of the deletion, as upstream does.
        last = make_entry(self.kind, key, previous.stored, revision)
        self._emit(CacheEvent(DELETED, last, previous))

    # watching

    def add_watcher(self, watcher: Watcher) -> None:
        self._home(watcher).add(watcher)

    def remove_watcher(self, watcher: Watcher) -> None:
        home = self._home(watcher)
        home.discard(watcher)
        if not home and home is not self._watchers:
            self._pinned.pop(self._pin(watcher), None)

    def close_watchers(self, expired: bool) -> None:
        """End all watches: their history is lost (`expired`), or the server stops."""
        for watcher in self._all_watchers():
            watcher.close(expired)
        self._watchers.clear()
        self._pinned.clear()

    @property
    def watchers(self) -> int:
        return len(self._watchers) + sum(map(len, self._pinned.values()))

    def _index(self, previous: Entry | None, entry: Entry | None) -> None:
        if not self._indexed:
            return
        before = previous.fields.get(self.trigger, "") if previous else None
        now = entry.fields.get(self.trigger, "") if entry else None
        if before == now:
            return
        if previous is not None and before is not None:
            keys = self._keys[before]
            keys.discard(previous.key)
            if not keys:
                del self._keys[before]
        if entry is not None and now is not None:
            self._keys.setdefault(now, set()).add(entry.key)

    def _pin(self, watcher: Watcher) -> str:
        return self._pinned_to(watcher.selection)

    def _pinned_to(self, selection: Selection) -> str:
        for requirement in selection.fields:
            if requirement.field == self.trigger and not requirement.negated:
                return requirement.value
        return ""

    def _home(self, watcher: Watcher) -> set[Watcher]:
        pin = self._pin(watcher)
        return self._pinned[pin] if pin else self._watchers

    def _all_watchers(self) -> list[Watcher]:
        return [*self._watchers, *(w for pinned in self._pinned.values() for w in pinned)]

    def _emit(self, event: CacheEvent) -> None:
        if self.window.append(event):
            self._forgotten += 1
            if self._forgotten >= LOOK_EVERY:
                self._forgotten = 0
                self._give_up_the_slow()
        for watcher in self._watchers:
            watcher.offer(event)
        pins = {event.entry.fields.get(self.trigger, "")}
        if event.previous:
            pins.add(event.previous.fields.get(self.trigger, ""))
        for pin in pins:
            for watcher in self._pinned.get(pin, ()):
                watcher.offer(event)

    def _give_up_the_slow(self) -> None:
        """Who has not read what was forgotten holds it in memory."""
        for watcher in self._all_watchers():
            behind = watcher.behind()
            if behind is not None and behind < self.window.horizon:
                watcher.give_up()
