"""Sequences of steps from a seed. Each has a theme, so that its states are worth asking about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tests.differential.hunt.auth_steps import AuthSteps
from tests.differential.hunt.choose import Chance
from tests.differential.hunt.cluster_steps import ClusterSteps
from tests.differential.hunt.kv_steps import KvSteps
from tests.differential.hunt.steps import Step
from tests.differential.hunt.wire_steps import WireSteps

THEMES = ("kv", "txn", "watch", "lease", "auth", "auth", "cluster", "wire")


def sequence(seed: int, length: int, members: int) -> list[Step]:
    theme = THEMES[seed % len(THEMES)]
    users = theme == "auth"
    generator = Generator(Chance(seed, forward=users), members, users=users)
    return list(generator.steps(theme, length))


class Generator(KvSteps, AuthSteps, ClusterSteps, WireSteps):
    def steps(self, theme: str, length: int) -> Iterator[Step]:
        if theme == "auth":
            yield from self.rules()
        for _ in range(length):
            made = self.chance.weighted(_TABLES[theme])(self)
            yield from made if isinstance(made, list) else [made]


_Maker = Callable[[Generator], Step | list[Step]]
_KV: tuple[tuple[float, _Maker], ...] = (
    (10, Generator.range), (8, Generator.put), (3, Generator.delete), (5, Generator.txn),
    (1, Generator.compact),
)  # fmt: skip
_LEASE: tuple[tuple[float, _Maker], ...] = (
    (4, Generator.grant), (2, Generator.revoke), (2, Generator.time_to_live),
    (1, Generator.keep_alive), (1, Generator.leases),
)  # fmt: skip
_TABLES: dict[str, Sequence[tuple[float, _Maker]]] = {
    "kv": (*_KV, (1, Generator.grant), (0.3, Generator.maintain)),
    "txn": (*_KV, (20, Generator.txn), (0.3, Generator.wide_txn), (1.5, Generator.grant)),
    "watch": (*_KV, (8, Generator.watch), (1, Generator.grant), (1, Generator.revoke)),
    "lease": (*_KV, *_LEASE, *_LEASE, (2, Generator.put)),
    "auth": (*_KV, *_LEASE, (20, Generator.auth), (6, Generator.log_in), (1, Generator.maintain),
             (1, Generator.watch), (0.5, Generator.members), (0.5, Generator.alarm)),
    "cluster": (*_KV, (3, Generator.alarm), (2, Generator.disarm), (6, Generator.maintain),
                (8, Generator.members), (0.3, Generator.learner), (1, Generator.grant)),
    "wire": (*_KV, (20, Generator.wire), (0.3, Generator.wide_txn)),
}  # fmt: skip
