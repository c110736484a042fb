"""Ingresses. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.networking import Ingress, IngressStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import NONE, age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.ingress import (
    validate_ingress,
    validate_ingress_status,
)

_SHOWN = 3


def cells(obj: Ingress, now: datetime) -> Cells:
    return [
        obj.metadata.name,
        obj.spec.ingress_class_name or NONE,
        _hosts(obj),
        _addresses(obj),
        "80, 443" if obj.spec.tls else "80",
        age(obj.metadata.creation_timestamp, now),
    ]


def _hosts(obj: Ingress) -> str:
    rules = obj.spec.rules
    shown = ",".join(rule.host for rule in rules[:_SHOWN] if rule.host) or "*"
    return f"{shown} + {len(rules) - _SHOWN} more..." if len(rules) > _SHOWN else shown


def _addresses(obj: Ingress) -> str:
    balancer = obj.status.load_balancer
    given = {i.ip or i.hostname for i in balancer.ingress} if balancer else set()
    return ",".join(sorted(filter(None, given)))


KIND = Kind(
    resource=resource_for(Ingress),
    columns=columns("Name Class Hosts Address Ports Age"),
    cells=cells,
    on_create=fresh_status(IngressStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_ingress,
    validate_status=validate_ingress_status,
    counted=spec_of,
    stored_under="ingress",
    subresources=(STATUS,),
)
