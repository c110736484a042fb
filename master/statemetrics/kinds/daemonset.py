"""DaemonSets. Pure."""

from __future__ import annotations

from collections.abc import Callable

from kube.api.apps import DaemonSet
from master.statemetrics.family import Family, StateKind, plain
from master.statemetrics.metadata import created, deleted, generation, identity


def _status(suffix: str, help: str, read: Callable[[DaemonSet], float | None]) -> Family[DaemonSet]:
    return plain(f"kube_daemonset_status_{suffix}", help, lambda ds: read(ds) or 0)


KIND = StateKind(
    "daemonsets",
    DaemonSet,
    identity("daemonset"),
    (
        created("kube_daemonset"),
        deleted("kube_daemonset"),
        generation("kube_daemonset"),
        _status(
            "current_number_scheduled",
            "Nodes that run a pod of it and should.",
            lambda ds: ds.status.current_number_scheduled,
        ),
        _status(
            "desired_number_scheduled",
            "Nodes that should run a pod of it.",
            lambda ds: ds.status.desired_number_scheduled,
        ),
        _status(
            "number_available",
            "Nodes with an available pod of it.",
            lambda ds: ds.status.number_available,
        ),
        _status(
            "number_misscheduled",
            "Nodes that run a pod of it and should not.",
            lambda ds: ds.status.number_misscheduled,
        ),
        _status("number_ready", "Nodes with a Ready pod of it.", lambda ds: ds.status.number_ready),
        _status(
            "number_unavailable",
            "Nodes that lack an available pod of it.",
            lambda ds: ds.status.number_unavailable,
        ),
        _status(
            "observed_generation",
            "The generation that the controller has seen.",
            lambda ds: ds.status.observed_generation,
        ),
        _status(
            "updated_number_scheduled",
            "Nodes with a pod of the newest template.",
            lambda ds: ds.status.updated_number_scheduled,
        ),
    ),
)
