"""The filters at the front: each sees what the former made of the call, and may end it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kube.machinery.errors import Forbidden
from master.apiserver.authn.identity import ANONYMOUS, LOOPBACK, User
from master.apiserver.authz.rules import Attributes
from master.apiserver.filters.authentication import Authentication
from master.apiserver.filters.call import Call, Filters, Peer

ASKED = Attributes("get", "", "pods", namespace="ns", name="x")


class Note:
    def __init__(self, name: str, seen: list[str]) -> None:
        self._name, self._seen = name, seen

    async def __call__(self, call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
        self._seen.append(f"into {self._name}")
        try:
            return await proceed(call)
        finally:
            self._seen.append(f"out of {self._name}")


async def refuse(call: Call, proceed: Callable[[Call], Awaitable[Any]]) -> Any:
    raise Forbidden("no")


async def handled(call: Call) -> str:
    return call.user.name


async def test_filters_surround_the_handler_in_their_order() -> None:
    seen: list[str] = []
    chain = Filters((Note("a", seen), Note("b", seen)))
    assert await chain.serve(Call(ASKED, Peer()), handled) == ANONYMOUS.name
    assert seen == ["into a", "into b", "out of b", "out of a"]


async def test_a_filter_that_refuses_ends_the_call() -> None:
    seen: list[str] = []
    reached = False

    async def handle(call: Call) -> None:
        nonlocal reached
        reached = True

    with pytest.raises(Forbidden):
        await Filters((Note("a", seen), refuse, Note("c", seen))).serve(Call(ASKED, Peer()), handle)
    assert seen == ["into a", "out of a"] and not reached


@pytest.mark.parametrize(("peer", "user"), [(Peer(encrypted=False), LOOPBACK), (Peer(), ANONYMOUS)])
async def test_only_who_calls_without_tls_is_the_user_of_tests(peer: Peer, user: User) -> None:
    chain = Filters((Authentication(LOOPBACK),))
    assert await chain.serve(Call(ASKED, peer), handled) == user.name
