"""A load balancer's addresses in a status: the same rules for Services and Ingresses."""

from __future__ import annotations

import msgspec
import pytest

from kube.api.core import Service, ServiceStatus
from kube.api.networking import Ingress, IngressStatus
from master.apiserver.registry.validation.ingress import validate_ingress_status
from master.apiserver.registry.validation.service import validate_service_status

WRONG = {
    "ip": ("1.2.3.400", "status.loadBalancer.ingress[0].ip"),
    "hostname": ("1.2.3.4", "status.loadBalancer.ingress[0].hostname"),
}


@pytest.mark.parametrize("field", WRONG)
def test_what_is_no_address_is_refused(field: str) -> None:
    value, path = WRONG[field]
    status = {"loadBalancer": {"ingress": [{field: value}]}}
    service = Service(status=msgspec.convert(status, ServiceStatus))
    ingress = Ingress(status=msgspec.convert(status, IngressStatus))
    (ours,), (theirs,) = validate_service_status(service), validate_ingress_status(ingress)
    assert ours == theirs
    assert ours.field == path


def test_addresses_and_names_are_taken() -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}
    assert validate_service_status(Service(status=msgspec.convert(status, ServiceStatus))) == []
    assert validate_ingress_status(Ingress(status=msgspec.convert(status, IngressStatus))) == []
