"""One watch over the store's whole key space, which feeds every cache.

Watching everything makes freshness simple: each revision of the store changes some key, so
after a linearizable read has told revision R, the cache is up to date when an event of revision
R (or later) has arrived. No progress notifications are needed, which old etcds get wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from kube.rpc.errors import RpcError
from kube.stubs.etcd import rpc_pb2 as pb
from kube.stubs.etcd.kv_pb2 import Event
from master.apiserver.etcd3.connection import Connection, translate
from master.apiserver.etcd3.errors import Compacted, StoreUnavailable

_WATCH = pb.DESCRIPTOR.services_by_name["Watch"]
# The member cancels the watch when it has lost its leader, so a cut-off member is left.
_METADATA = (("hasleader", "true"),)


async def watch_everything(
    connection: Connection, start_revision: int
) -> AsyncIterator[list[Event]]:
    """Yield the events from `start_revision` on, whole revisions at a time, until a break.

    The first item is an empty list once the store has confirmed the watch. Raises StoreUnavailable
    when the stream broke (watch again from the last revision seen) and Compacted when the
    start is too old (list again).
    """
    channel = connection.channel
    create = pb.WatchCreateRequest(
        key=b"\0", range_end=b"\0", start_revision=start_revision, prev_kv=False
    )
    never = asyncio.Event()

    async def requests() -> AsyncIterator[pb.WatchRequest]:
        yield pb.WatchRequest(create_request=create)
        # Ending the request stream would end the watch.
        await never.wait()

    call = channel.stub(_WATCH).Watch(requests(), metadata=_METADATA)
    try:
        with connection.stream(call.cancel):
            async for answer in call:
                if answer.canceled:
                    if answer.compact_revision:
                        raise Compacted(answer.compact_revision)
                    raise StoreUnavailable(answer.cancel_reason or "the store cancelled the watch")
                yield list(answer.events)
        raise StoreUnavailable("the store ended the watch")
    except RpcError as error:
        connection.rotate(channel)
        raise translate(error) from error
    except StoreUnavailable:
        connection.rotate(channel)
        raise
    finally:
        call.cancel()
