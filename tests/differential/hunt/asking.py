"""Who asks, at which member, with whose token: what all generated steps have in common."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from tests.differential.hunt.choose import Chance
from tests.differential.hunt.steps import Asked, Call


class Asking:
    def __init__(self, chance: Chance, members: int, *, users: bool = False) -> None:
        self.chance = chance
        self._members = members
        self._users = users  # whether requests carry tokens

    def asked(self) -> Asked:
        chance = self.chance
        user = ""
        if self._users:
            user = chance.weighted(
                (
                    (8, "root"),
                    (6, "alice"),
                    (4, "bob"),
                    (2, ""),
                    (1, "?"),
                    (1, "-alice"),
                    (1, "-root"),
                )
            )
        metadata = (
            (
                (
                    "hasleader",
                    chance.one(("true", "true", "false", "")),
                )
            )
            if chance.maybe(0.03)
            else None
        )
        return Asked(
            chance.below(self._members),
            user,
            chance.maybe(0.2 if self._users else 0.05),
            (metadata,) if metadata else (),
        )

    def call(self, path: str, *bodies: Message | bytes, **more: Any) -> Call:
        return Call(path, bodies, more.pop("asked", None) or self.asked(), **more)
