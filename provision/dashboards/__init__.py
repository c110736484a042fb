"""Grafana dashboards of a lab: a file a dashboard, and one line here. Pure.

Each panel asks for what the lab's Prometheus has (docs/monitoring.md), by the names of upstream, so
that the dashboards also read a cluster that kube-prometheus watches.
"""

from __future__ import annotations

from provision.dashboards import (
    capacity,
    control_plane,
    drills,
    kubelets,
    machines,
    overview,
    services,
    store,
    workloads,
)
from provision.dashboards.board import Board

BOARDS: tuple[Board, ...] = (
    overview.BOARD,
    machines.BOARD,
    control_plane.BOARD,
    store.BOARD,
    kubelets.BOARD,
    workloads.BOARD,
    services.BOARD,
    drills.BOARD,
    capacity.BOARD,
)
