"""StatefulSets (pkg/apis/apps/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from kube.api.apps import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetStatus,
    StatefulSetUpdateStrategy,
)
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import default_template, fresh_status, value_or
from master.apiserver.kinds.cell import age, containers
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.core import persistentvolumeclaim
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.scale import SCALE
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.apps import (
    validate_statefulset,
    validate_statefulset_update,
)
from master.apiserver.registry.validation.metadata import dns_label

HISTORY_LIMIT = 10
KEEP = "Retain"


def default(obj: StatefulSet) -> StatefulSet:
    spec = obj.spec
    spec = replace(
        spec,
        pod_management_policy=spec.pod_management_policy or "OrderedReady",
        update_strategy=_strategy(spec.update_strategy or StatefulSetUpdateStrategy()),
        persistent_volume_claim_retention_policy=_retention(spec),
        replicas=value_or(spec.replicas, 1),
        revision_history_limit=value_or(spec.revision_history_limit, HISTORY_LIMIT),
        template=default_template(spec.template),
        volume_claim_templates=tuple(
            persistentvolumeclaim.default(claim) for claim in spec.volume_claim_templates
        ),
    )
    return replace(obj, spec=spec)


def _strategy(strategy: StatefulSetUpdateStrategy) -> StatefulSetUpdateStrategy:
    if strategy.type not in ("", "RollingUpdate"):
        return strategy
    rolling = strategy.rolling_update or RollingUpdateStatefulSetStrategy()
    partition = value_or(rolling.partition, 0)
    return StatefulSetUpdateStrategy(
        type="RollingUpdate", rolling_update=replace(rolling, partition=partition)
    )


def _retention(spec: StatefulSetSpec) -> StatefulSetPersistentVolumeClaimRetentionPolicy:
    given = spec.persistent_volume_claim_retention_policy
    given = given or StatefulSetPersistentVolumeClaimRetentionPolicy()
    return StatefulSetPersistentVolumeClaimRetentionPolicy(
        when_deleted=given.when_deleted or KEEP, when_scaled=given.when_scaled or KEEP
    )


def cells(obj: StatefulSet, now: datetime) -> Cells:
    names, images = containers(obj.spec.template.spec.containers)
    return [
        obj.metadata.name,
        f"{obj.status.ready_replicas or 0}/{obj.spec.replicas or 0}",
        age(obj.metadata.creation_timestamp, now),
        names,
        images,
    ]


KIND = Kind(
    resource=resource_for(StatefulSet),
    columns=columns("Name Ready Age Containers+ Images+"),
    cells=cells,
    default=default,
    on_create=fresh_status(lambda: StatefulSetStatus(replicas=0, available_replicas=0)),
    on_update=keep_status,
    on_status=keep_spec,
    check_name=dns_label,
    validate=validate_statefulset,
    validate_update=validate_statefulset_update,
    counted=spec_of,
    subresources=(STATUS, SCALE),
)
