"""PriorityClasses. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.meta import ObjectMeta
from kube.api.scheduling import PriorityClass
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.template import unchanged

HIGHEST = 1_000_000_000
# What every cluster has, for what it cannot do without.
SYSTEM = (
    PriorityClass(
        metadata=ObjectMeta(name="system-cluster-critical"),
        value=2 * HIGHEST,
        description="Used for system critical pods that must run in the cluster, but can be moved "
        "to another node if necessary.",
    ),
    PriorityClass(
        metadata=ObjectMeta(name="system-node-critical"),
        value=2 * HIGHEST + 1000,
        description="Used for system critical pods that must not be moved from their current node.",
    ),
)
_PREFIX = "system-"
_POLICIES = ("PreemptLowerPriority", "Never")


def default(obj: PriorityClass) -> PriorityClass:
    return replace(obj, preemption_policy=obj.preemption_policy or "PreemptLowerPriority")


def validate(obj: PriorityClass) -> Causes:
    causes: Causes = []
    name, value = obj.metadata.name, obj.value or 0
    if name.startswith(_PREFIX):
        # These two may be written as they are, which an upgrade does.
        if not any((one.metadata.name, one.value) == (name, value) for one in SYSTEM):
            text = (
                f"priority class names with '{_PREFIX}' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class"
            )
            causes.append(field.forbidden("metadata.name", text))
    elif value > HIGHEST:
        text = f"maximum allowed value of a user defined priority is {HIGHEST}"
        causes.append(field.forbidden("value", text))
    if obj.preemption_policy not in _POLICIES:
        wrong = obj.preemption_policy
        causes.append(field.not_supported("preemptionPolicy", wrong, _POLICIES))
    return causes


def validate_update(new: PriorityClass, old: PriorityClass) -> Causes:
    causes: Causes = []
    if (new.value or 0) != (old.value or 0):
        causes.append(field.forbidden("value", "may not be changed in an update."))
    return causes + unchanged("preemptionPolicy", new.preemption_policy, old.preemption_policy)


def cells(obj: PriorityClass, now: datetime) -> Cells:
    return [
        obj.metadata.name,
        obj.value or 0,
        obj.global_default or False,
        age(obj.metadata.creation_timestamp, now),
        obj.preemption_policy,
    ]


KIND = Kind(
    resource=resource_for(PriorityClass),
    columns=columns("Name Value# Global-Default Age PreemptionPolicy"),
    cells=cells,
    default=default,
    validate=validate,
    validate_update=validate_update,
)
