"""Columns and cells per kind (kubernetes pkg/printers/internalversion). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from master.apiserver.rest.tables import cells_cluster, cells_core, cells_pod, cells_workloads
from master.apiserver.rest.tables.cell import age

Cell = str | int | None


@dataclass(frozen=True, slots=True)
class Column:
    """`priority` 1 is shown with `-o wide` only."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Printer:
    columns: tuple[Column, ...]
    cells: Callable[[Any, datetime], list[Cell]]


def _columns(spec: str) -> tuple[Column, ...]:
    """`Name Ready Restarts IP+`: a trailing + is for wide, _ is a space, # an integer."""
    made = []
    for word in spec.split():
        name = word.rstrip("+#").replace("_", " ")
        made.append(
            Column(
                name=name,
                type="integer" if "#" in word else "string",
                priority=1 if "+" in word else 0,
                format="name" if name == "Name" else "",
                description=_DESCRIPTIONS.get(name, name),
            )
        )
    return tuple(made)


_DESCRIPTIONS = {
    "Name": "Name must be unique within a namespace.",
    "Age": "Time since the object was created.",
}
_PRINTERS = {
    "Pod": Printer(
        _columns("Name Ready Status Restarts Age IP+ Node+ Nominated_Node+ Readiness_Gates+"),
        cells_pod.pod,
    ),
    "Node": Printer(
        _columns(
            "Name Status Roles Age Version Internal-IP+ External-IP+ OS-Image+ Kernel-Version+ "
            "Container-Runtime+"
        ),
        cells_cluster.node,
    ),
    "Namespace": Printer(_columns("Name Status Age"), cells_cluster.namespace),
    "Service": Printer(
        _columns("Name Type Cluster-IP External-IP Port(s) Age Selector+"), cells_core.service
    ),
    "Endpoints": Printer(_columns("Name Endpoints Age"), cells_core.endpoints),
    "EndpointSlice": Printer(
        _columns("Name AddressType Ports Endpoints Age"), cells_core.endpoint_slice
    ),
    "ConfigMap": Printer(_columns("Name Data# Age"), cells_core.config_map),
    "Secret": Printer(_columns("Name Type Data# Age"), cells_core.secret),
    "ServiceAccount": Printer(_columns("Name Secrets# Age"), cells_core.service_account),
    "Event": Printer(
        _columns(
            "Last_Seen Type Reason Object Subobject+ Source+ Message First_Seen+ Count#+ Name+"
        ),
        cells_cluster.event,
    ),
    "Lease": Printer(_columns("Name Holder Age"), cells_cluster.lease),
    "Deployment": Printer(
        _columns("Name Ready Up-to-date# Available# Age Containers+ Images+ Selector+"),
        cells_workloads.deployment,
    ),
    "ReplicaSet": Printer(
        _columns("Name Desired# Current# Ready# Age Containers+ Images+ Selector+"),
        cells_workloads.replica_set,
    ),
}


def _plain(obj: Any, now: datetime) -> list[Cell]:
    return [obj.metadata.name, age(obj.metadata.creation_timestamp, now)]


_ORDINARY = Printer(_columns("Name Age"), _plain)


def printer_for(kind: str) -> Printer:
    return _PRINTERS.get(kind, _ORDINARY)
