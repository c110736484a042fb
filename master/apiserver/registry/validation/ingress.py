"""Validation of Ingresses and their classes (pkg/apis/networking/validation). Pure."""

from __future__ import annotations

from kube.api.core import TypedLocalObjectReference
from kube.api.meta import StatusCause
from kube.api.networking import (
    HTTPIngressPath,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassParametersReference,
    IngressServiceBackend,
    IngressTLS,
)
from kube.machinery.addresses import parsed_ip
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.balancer import validate_address
from master.apiserver.registry.validation.metadata import (
    dns_1035,
    dns_label,
    dns_subdomain,
    path_segment,
    wildcard_subdomain,
)
from master.apiserver.registry.validation.template import unchanged

Causes = list[StatusCause]
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_SUFFIXES = ("/..", "/.")
MAX_CONTROLLER = 250
CLUSTER, NAMESPACE = "Cluster", "Namespace"


def validate_ingress(obj: Ingress) -> Causes:
    spec = obj.spec
    causes: Causes = []
    if spec.default_backend:
        causes += _backend(spec.default_backend, "spec.defaultBackend")
    elif not spec.rules:
        text = "either `defaultBackend` or `rules` must be specified"
        causes.append(field.invalid("spec", [], text))
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        causes += _host(rule.host, f"{path}.host") if rule.host else []
        if rule.http is None:
            continue
        if not rule.http.paths:
            causes.append(field.required(f"{path}.http.paths"))
        for number, one in enumerate(rule.http.paths):
            causes += _path(one, f"{path}.http.paths[{number}]")
    for index, tls in enumerate(spec.tls):
        causes += _tls(tls, f"spec.tls[{index}]")
    if spec.ingress_class_name and (why := dns_subdomain(spec.ingress_class_name)):
        causes.append(field.invalid("spec.ingressClassName", spec.ingress_class_name, why))
    return causes


def _host(host: str, path: str) -> Causes:
    if parsed_ip(host):
        return [field.invalid(path, host, "must be a DNS name, not an IP address")]
    why = wildcard_subdomain(host) if "*" in host else dns_subdomain(host)
    return [field.invalid(path, host, why)] if why else []


def _tls(tls: IngressTLS, path: str) -> Causes:
    causes: Causes = []
    for index, host in enumerate(tls.hosts):
        why = wildcard_subdomain(host) if "*" in host else dns_subdomain(host)
        if why:
            causes.append(field.invalid(f"{path}.hosts[{index}]", host, why))
    if tls.secret_name and (why := dns_subdomain(tls.secret_name)):
        causes.append(field.invalid(f"{path}.secretName", tls.secret_name, why))
    return causes


def _path(one: HTTPIngressPath, path: str) -> Causes:
    causes: Causes = []
    here, text = f"{path}.path", one.path
    match one.path_type:
        case "":
            causes.append(field.required(f"{path}.pathType", "pathType must be specified"))
        case "Exact" | "Prefix":
            causes += _clean_path(text, here)
        case "ImplementationSpecific":
            if text and not text.startswith("/"):
                causes.append(field.invalid(here, text, "must be an absolute path"))
        case type_:
            causes.append(field.not_supported(f"{path}.pathType", type_, _PATH_TYPES))
    return causes + _backend(one.backend or IngressBackend(), f"{path}.backend")


def _clean_path(text: str, path: str) -> Causes:
    if not text.startswith("/"):
        return [field.invalid(path, text, "must be an absolute path")]
    causes = [
        field.invalid(path, text, f"must not contain '{sequence}'")
        for sequence in _SEQUENCES
        if sequence in text
    ]
    return causes + [
        field.invalid(path, text, f"cannot end with '{suffix}'")
        for suffix in _SUFFIXES
        if text.endswith(suffix)
    ]


def _backend(backend: IngressBackend, path: str) -> Causes:
    service, resource = backend.service, backend.resource
    if service and resource:
        return [field.invalid(path, "", "cannot set both resource and service backends")]
    if resource:
        return _resource(resource, f"{path}.resource")
    if service is None:
        return [field.invalid(path, "", "resource or service backend is required")]
    return _service(service, f"{path}.service")


def _resource(ref: TypedLocalObjectReference, path: str) -> Causes:
    causes: Causes = []
    if ref.api_group and (why := dns_subdomain(ref.api_group)):
        causes.append(field.invalid(f"{path}.apiGroup", ref.api_group, why))
    for name, value in (("kind", ref.kind), ("name", ref.name)):
        if not value:
            causes.append(field.required(f"{path}.{name}"))
        elif why := path_segment(value):
            causes.append(field.invalid(f"{path}.{name}", value, why))
    return causes


def _service(service: IngressServiceBackend, path: str) -> Causes:
    causes: Causes = []
    if not service.name:
        causes.append(field.required(f"{path}.name"))
    elif why := dns_1035(service.name):
        causes.append(field.invalid(f"{path}.name", service.name, why))
    name = service.port.name if service.port else ""
    number = service.port.number if service.port else None
    if name and number:
        causes.append(field.invalid(path, "", "cannot set both port name & port number"))
    elif name:
        causes += formats.port(f"{path}.port.name", name)
    elif number:
        causes += formats.port(f"{path}.port.number", number)
    else:
        causes.append(field.required(path, "port name or number is required"))
    return causes


def validate_ingress_status(obj: Ingress) -> Causes:
    balancer = obj.status.load_balancer
    return [
        cause
        for index, address in enumerate(balancer.ingress if balancer else ())
        for cause in validate_address(address, f"status.loadBalancer.ingress[{index}]")
    ]


def validate_ingress_class(obj: IngressClass) -> Causes:
    controller = obj.spec.controller
    if len(controller) > MAX_CONTROLLER:
        return [field.too_long("spec.controller", MAX_CONTROLLER)]
    causes = validate_domain_path(controller, "spec.controller")
    if obj.spec.parameters:
        causes += _parameters(obj.spec.parameters, "spec.parameters")
    return causes


def validate_domain_path(text: str, path: str) -> Causes:
    """`acme.io/foo` (IsDomainPrefixedPath)."""
    if not text:
        return [field.required(path)]
    domain, slash, rest = text.partition("/")
    if not slash or not domain or not rest:
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [field.invalid(path, text, why)]
    why_not = dns_subdomain(domain)
    return [field.invalid(path, text, why_not)] if why_not else []


def _parameters(ref: IngressClassParametersReference, path: str) -> Causes:
    causes = _resource(
        TypedLocalObjectReference(api_group=ref.api_group, kind=ref.kind, name=ref.name), path
    )
    if ref.scope not in (CLUSTER, NAMESPACE):
        wrong = field.not_supported(f"{path}.scope", ref.scope, (CLUSTER, NAMESPACE))
        return [*causes, wrong if ref.scope else field.required(f"{path}.scope")]
    here = f"{path}.namespace"
    if ref.scope == NAMESPACE and not ref.namespace:
        causes.append(field.required(here, f"`parameters.scope` is set to '{NAMESPACE}'"))
    elif ref.scope == CLUSTER and ref.namespace:
        causes.append(field.forbidden(here, f"`parameters.scope` is set to '{CLUSTER}'"))
    elif ref.namespace and (why := dns_label(ref.namespace)):
        causes.append(field.invalid(here, ref.namespace, why))
    return causes


def validate_ingress_class_update(new: IngressClass, old: IngressClass) -> Causes:
    return unchanged("spec.controller", new.spec.controller, old.spec.controller)
