"""What a drill's document says of the machines that a fault hits."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from drills.base import Percent, Strict

Pick = Literal["all", "first", "random", "most-pods"]


class Target(Strict, frozen=True, kw_only=True):
    """The machines that a fault hits. All filters must agree; `pick` then takes from the rest."""

    names: Annotated[tuple[str, ...], Meta(description="Machines by name.")] = ()
    role: Annotated[Literal["", "master", "worker"], Meta(description="By role.")] = ""
    labels: Annotated[
        str, Meta(description="By a selector over the labels of nodes, such as disk=ssd.")
    ] = ""
    zone: Annotated[str, Meta(description="By topology.kubernetes.io/zone.")] = ""
    leader_of: Annotated[
        Literal["", "store", "kube-scheduler", "kube-controller-manager"],
        Meta(description="The machine whose member leads the store, or holds that Lease."),
    ] = ""
    not_leader_of: Annotated[
        Literal["", "store", "kube-scheduler", "kube-controller-manager"],
        Meta(description="All but that one."),
    ] = ""
    pick: Annotated[Pick, Meta(description="Which of those that are left.")] = "first"
    count: Annotated[int, Meta(ge=1, description="How many to pick.")] = 1
    percent: Annotated[Percent | None, Meta(description="How many, in percent, rounded up.")] = None
