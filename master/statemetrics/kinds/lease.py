"""Leases: leader election, and the kubelets' heartbeats. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.coordination import Lease
from master.statemetrics.family import Family, Sample, StateKind, plain
from master.statemetrics.metadata import identity, timestamp


def _owners(lease: Lease) -> Iterable[Sample]:
    holder = {"lease_holder": lease.spec.holder_identity}
    for reference in lease.metadata.owner_references or (None,):
        kind, name = (reference.kind, reference.name) if reference else ("", "")
        yield {"owner_kind": kind, "owner_name": name, **holder}, 1


KIND = StateKind(
    "leases",
    Lease,
    identity("lease"),
    (
        Family("kube_lease_owner", "Whose Lease it is, and who holds it.", _owners),
        plain(
            "kube_lease_renew_time",
            "Unix time at which the Lease was last renewed.",
            lambda lease: timestamp(lease.spec.renew_time),
        ),
    ),
)
