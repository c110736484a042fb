"""Container events end with a reason: a reader that is too slow, a runtime that stops."""

from __future__ import annotations

import pytest

from kube.stubs.cri import api_pb2 as cri
from worker.runtime.errors import Unavailable
from worker.runtime.service.events import QUEUE_LENGTH, EventBroker


def event(number: int) -> cri.ContainerEventResponse:
    return cri.ContainerEventResponse(container_id=str(number))


async def test_events_arrive_in_order_until_the_runtime_stops() -> None:
    broker = EventBroker()
    seen = []
    with broker.subscription() as events:
        broker.publish(event(1))
        broker.publish(event(2))
        broker.close()
        with pytest.raises(Unavailable, match="the runtime is stopping"):
            async for item in events:
                seen.append(item.container_id)
    assert seen == ["1", "2"]
    assert not broker.wanted


async def test_a_reader_that_is_too_slow_is_told_that_events_were_lost() -> None:
    broker = EventBroker()
    with broker.subscription() as events:
        for number in range(QUEUE_LENGTH + 1):
            broker.publish(event(number))
        with pytest.raises(Unavailable, match="read too slowly"):
            async for _ in events:
                pass
