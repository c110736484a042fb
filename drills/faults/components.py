"""The processes of the lab, by the names of their units."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Component = Annotated[
    Literal[
        "kvstore", "apiserver", "scheduler", "controller-manager", "runtime", "kubelet", "proxy",
        "network",
    ],
    Meta(description="Which process; its unit is muster-<component>."),
]  # fmt: skip


def unit(component: str) -> str:
    return f"muster-{component}.service"
