"""Named ports of containers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import Container


def named_port(containers: Iterable[Container], name: str, protocol: str = "") -> int | None:
    """The number of the first port called `name`; `protocol` "" is any."""
    for container in containers:
        for port in container.ports:
            fits = not protocol or (port.protocol or "TCP") == protocol
            if port.name == name and fits and port.container_port:
                return port.container_port
    return None
