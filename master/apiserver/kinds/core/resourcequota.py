"""ResourceQuotas. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.core import ResourceQuota, ResourceQuotaStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.quota import (
    validate_quota,
    validate_quota_status,
    validate_quota_update,
)


def cells(obj: ResourceQuota, now: datetime) -> Cells:
    used, hard = obj.status.used, obj.status.hard
    shown = {name: f"{name}: {used.get(name, 0)}/{hard[name]}" for name in sorted(hard)}
    return [
        obj.metadata.name,
        ", ".join(text for name, text in shown.items() if not name.startswith("limits")),
        ", ".join(text for name, text in shown.items() if name.startswith("limits")),
        age(obj.metadata.creation_timestamp, now),
    ]


KIND = Kind(
    resource=resource_for(ResourceQuota),
    columns=columns("Name Request Limit Age"),
    cells=cells,
    on_create=fresh_status(ResourceQuotaStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_quota,
    validate_update=validate_quota_update,
    validate_status=validate_quota_status,
    subresources=(STATUS,),
)
