"""What can go wrong between the api-server and its store."""

from __future__ import annotations


class StoreError(Exception):
    """The store answered with an error that repeating the call would not mend."""


class StoreUnavailable(StoreError):
    """No endpoint answered in time: no leader, no connection, or no quorum."""


class Compacted(StoreError):
    """The revision asked for is gone; list again from the present."""

    def __init__(self, compact_revision: int = 0) -> None:
        super().__init__("required revision has been compacted")
        self.compact_revision = compact_revision


class FutureRevision(StoreError):
    """The revision asked for is not reached yet."""


class ValueTooLarge(StoreError):
    """The store refuses a request of this size."""
