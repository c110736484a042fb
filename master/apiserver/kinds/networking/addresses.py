"""ServiceCIDRs and IPAddresses: the ranges of services, and who owns what of them. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.networking import IPAddress, ParentReference, ServiceCIDR, ServiceCIDRStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Causes, Kind, keep_spec, keep_status
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.networkpolicy import (
    ip_name,
    validate_ip_address,
    validate_service_cidr,
    validate_service_cidr_update,
)
from master.apiserver.registry.validation.template import unchanged


def cidr_cells(obj: ServiceCIDR, now: datetime) -> Cells:
    created = age(obj.metadata.creation_timestamp, now)
    return [obj.metadata.name, ",".join(obj.spec.cidrs), created]


def address_cells(obj: IPAddress, _: datetime) -> Cells:
    ref = obj.spec.parent_ref or ParentReference()
    what = f"{ref.resource}.{ref.group}" if ref.group else ref.resource
    return [obj.metadata.name, "/".join(filter(None, (what, ref.namespace, ref.name)))]


def validate_address_update(new: IPAddress, old: IPAddress) -> Causes:
    return unchanged("spec.parentRef", new.spec.parent_ref, old.spec.parent_ref)


CIDR = Kind(
    resource=resource_for(ServiceCIDR),
    columns=columns("Name CIDRs Age"),
    cells=cidr_cells,
    on_create=fresh_status(ServiceCIDRStatus),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_service_cidr,
    validate_update=validate_service_cidr_update,
    subresources=(STATUS,),
)
ADDRESS = Kind(
    resource=resource_for(IPAddress),
    columns=columns("Name ParentRef"),
    cells=address_cells,
    check_name=ip_name,
    validate=validate_ip_address,
    validate_update=validate_address_update,
    # Upstream's place for it holds what services own, which other servers read.
    stored_under="networking.k8s.io/ipaddresses",
)
