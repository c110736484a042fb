"""Namespaces. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import Namespace
from master.statemetrics.family import Family, Sample, StateKind, one_of, statuses
from master.statemetrics.metadata import created, identity


def _conditions(namespace: Namespace) -> Iterable[Sample]:
    for condition in namespace.status.conditions:
        yield from statuses(condition.status, condition=condition.type)


KIND = StateKind(
    "namespaces",
    Namespace,
    identity("namespace", namespaced=False),
    (
        created("kube_namespace"),
        Family(
            "kube_namespace_status_phase",
            "The namespace's phase.",
            lambda ns: one_of("phase", ("Active", "Terminating"), ns.status.phase),
        ),
        Family("kube_namespace_status_condition", "The namespace's conditions.", _conditions),
    ),
)
