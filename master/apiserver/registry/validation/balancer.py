"""Validation of a load balancer's addresses (pkg/apis/core/validation:
ValidateLoadBalancerStatus). Pure."""

from __future__ import annotations

from kube.api.core import LoadBalancerIngress
from kube.api.meta import StatusCause
from kube.api.networking import IngressLoadBalancerIngress
from kube.machinery.addresses import parsed_ip
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import dns_subdomain


def validate_address(
    ingress: LoadBalancerIngress | IngressLoadBalancerIngress, path: str
) -> list[StatusCause]:
    """Its IP and its hostname, as Services and Ingresses have them."""
    causes = formats.ip(f"{path}.ip", ingress.ip) if ingress.ip else []
    name = ingress.hostname
    why: str | None = None
    if name and parsed_ip(name):
        why = "must be a DNS name, not an IP address"
    elif name:
        why = dns_subdomain(name)
    if why:
        causes.append(field.invalid(f"{path}.hostname", name, why))
    return causes
