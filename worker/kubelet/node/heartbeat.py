"""Renews the node's Lease: what decides whether this machine counts as alive.

The first thing that a kubelet does, before it has loaded most of itself: a restart must not look
like a death. So this imports little, and waits for nothing but the api-server. A kubelet that
never gets further must not look alive either: it begins so early only a few times in a row.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from kube.api import coordination
from kube.api.meta import ObjectMeta, OwnerReference
from kube.client.client import Client
from kube.component.log import get_logger
from kube.machinery import errors
from kube.machinery.times import format_micro, utc_now

log = get_logger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 7.0
EARLY_STARTS = 5


class Heartbeat:
    def __init__(
        self,
        client: Client,
        node: str,
        lease_seconds: float,
        renew_seconds: float,
        starts: Starts,
    ) -> None:
        self._client, self._name, self._starts = client, node, starts
        self._lease_seconds, self._renew_seconds = lease_seconds, renew_seconds
        self._lease: coordination.Lease | None = None
        self._registered = asyncio.Event()
        self._owner: OwnerReference | None = None

    def registered(self, uid: str) -> None:
        """The node is there, and so is its kubelet. A missing Lease is made, owned by it."""
        if not self._registered.is_set():
            self._starts.succeeded()
        self._owner = OwnerReference(api_version="v1", kind="Node", name=self._name, uid=uid)
        self._registered.set()

    async def run(self, early: bool) -> None:
        if not early:
            await self._registered.wait()
        retry = FIRST_RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(self._lease_seconds / 2):
                    self._lease = await self._renewed()
                retry = FIRST_RETRY_SECONDS
                pause = self._renew_seconds - (time.monotonic() - began)
            except errors.NotFound:
                self._lease, pause = None, FIRST_RETRY_SECONDS
                await self._registered.wait()
            except (errors.StatusError, TimeoutError) as error:
                log.warning("lease not renewed", error=str(error) or "timeout", retry_in=retry)
                self._lease = None
                pause, retry = retry, min(retry * 2, LAST_RETRY_SECONDS, self._renew_seconds)
            await asyncio.sleep(max(pause, 0.05))

    async def _renewed(self) -> coordination.Lease:
        """Raises NotFound where there is no Lease and, as long as there is no Node, cannot be."""
        lease = self._lease
        if lease is not None:
            changed = msgspec.structs.replace(lease, spec=self._held(lease.spec))
            return await self._client.update(changed)
        spec = msgspec.to_builtins(self._held(coordination.LeaseSpec()))
        try:  # a patch asks for nothing first: one way there and back
            return await self._client.patch(
                coordination.Lease, self._name, {"spec": spec}, LEASE_NAMESPACE
            )
        except errors.NotFound:
            if self._owner is None:
                raise
        meta = ObjectMeta(
            name=self._name, namespace=LEASE_NAMESPACE, owner_references=(self._owner,)
        )
        made = coordination.Lease(metadata=meta, spec=self._held(coordination.LeaseSpec()))
        return await self._client.create(made)

    def _held(self, spec: coordination.LeaseSpec) -> coordination.LeaseSpec:
        return msgspec.structs.replace(
            spec,
            holder_identity=self._name,
            lease_duration_seconds=max(round(self._lease_seconds), 1),
            renew_time=format_micro(utc_now()),
        )


class Starts:
    """How often the kubelet has begun in a row without ever being ready, kept in a file."""

    def __init__(self, root: Path) -> None:
        self._file = root / "starts"

    def begin(self) -> int:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            file.write(b".")
            return file.tell()

    def succeeded(self) -> None:
        self._file.unlink(missing_ok=True)
