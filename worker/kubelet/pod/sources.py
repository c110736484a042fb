"""Reads the configMaps and secrets that pods refer to, and remembers them for outages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from kube.api import core
from kube.client.client import Client
from kube.client.informer import Informer
from kube.machinery import errors
from worker.kubelet.pod.env import Sources

T = TypeVar("T", core.ConfigMap, core.Secret)


class SourceReader:
    """Fresh objects while the api-server answers, the last known ones while it does not."""

    def __init__(self, client: Client, services: Informer[core.Service]) -> None:
        self._client = client
        self._services = services
        self._known: dict[tuple[str, str, str], core.ConfigMap | core.Secret] = {}
        self.allocatable: dict[str, int] = {}

    async def read(
        self, namespace: str, config_maps: Iterable[str], secrets: Iterable[str]
    ) -> Sources:
        maps, hidden = await asyncio.gather(
            self._read_all(core.ConfigMap, namespace, config_maps),
            self._read_all(core.Secret, namespace, secrets),
        )
        return Sources(maps, hidden, tuple(self._services.values()), self.allocatable)

    async def _read_all(
        self, type_: type[T], namespace: str, wanted: Iterable[str]
    ) -> dict[str, T]:
        names = sorted(set(wanted))
        found = await asyncio.gather(*(self._read_one(type_, namespace, n) for n in names))
        return {name: obj for name, obj in zip(names, found, strict=True) if obj is not None}

    async def _read_one(self, type_: type[T], namespace: str, name: str) -> T | None:
        key = (type_.__name__, namespace, name)
        try:
            obj: T = await self._client.get(type_, name, namespace)
        except errors.NotFound:
            self._known.pop(key, None)
            return None
        except errors.StatusError:
            known = self._known.get(key)
            if isinstance(known, type_):
                return known
            raise
        self._known[key] = obj
        return obj

    def forget(self, namespace: str, config_maps: Iterable[str], secrets: Iterable[str]) -> None:
        """Drop these; another pod that uses them makes them known again."""
        for name in config_maps:
            self._known.pop(("ConfigMap", namespace, name), None)
        for name in secrets:
            self._known.pop(("Secret", namespace, name), None)
