"""Services. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import Service
from master.statemetrics.family import Family, Sample, StateKind
from master.statemetrics.metadata import created, deleted, identity


def _info(service: Service) -> Iterable[Sample]:
    spec = service.spec
    labels = {
        "cluster_ip": spec.cluster_ip,
        "external_name": spec.external_name,
        "external_traffic_policy": spec.external_traffic_policy,
        "load_balancer_ip": spec.load_balancer_ip,
    }
    return ((labels, 1),)


def _ingress(service: Service) -> Iterable[Sample]:
    balancer = service.status.load_balancer
    for ingress in balancer.ingress if balancer else ():
        yield {"ip": ingress.ip, "hostname": ingress.hostname}, 1


KIND = StateKind(
    "services",
    Service,
    identity("service", uid=True),
    (
        Family("kube_service_info", "A Service.", _info),
        created("kube_service"),
        Family(
            "kube_service_spec_type",
            "The Service's type.",
            lambda service: (({"type": service.spec.type}, 1),),
        ),
        Family(
            "kube_service_spec_external_ip",
            "The Service's external addresses.",
            lambda service: [({"external_ip": ip}, 1) for ip in service.spec.external_ips],
        ),
        Family(
            "kube_service_status_load_balancer_ingress",
            "Where the Service's load balancer is reached.",
            _ingress,
        ),
        deleted("kube_service"),
    ),
)
