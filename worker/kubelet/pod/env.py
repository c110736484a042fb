"""A container's environment (upstream's `makeEnvironmentVariables`). Pure.

The configMaps, secrets and services that it needs are read before, by the shell.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube.api import core
from worker.kubelet.pod.expand import expand
from worker.kubelet.pod.fieldpath import FieldError, field_value, resource_value

_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigError(Exception):
    """The container cannot be configured: status reason CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What values may come from. A name that is missing does not exist in the API."""

    config_maps: Mapping[str, core.ConfigMap] = field(default_factory=dict)
    secrets: Mapping[str, core.Secret] = field(default_factory=dict)
    services: tuple[core.Service, ...] = ()
    allocatable: dict[str, int] = field(default_factory=dict)


def environment(pod: core.Pod, container: core.Container, sources: Sources) -> dict[str, str]:
    """In upstream's order: service variables, envFrom, then env, later ones winning."""
    services = service_env(pod, sources.services)
    result: dict[str, str] = {}
    for source in container.env_from:
        result.update(_env_from(source, sources))
    for variable in container.env:
        value = _value(pod, container, variable, sources, {**services, **result})
        if value is not None:
            result[variable.name] = value
    return {**{k: v for k, v in services.items() if k not in result}, **result}


def _value(
    pod: core.Pod,
    container: core.Container,
    variable: core.EnvVar,
    sources: Sources,
    known: Mapping[str, str],
) -> str | None:
    """The variable's value, or None when an optional source is missing."""
    origin = variable.value_from
    if origin is None:
        return expand(variable.value, known)
    try:
        if origin.field_ref:
            return field_value(pod, origin.field_ref.field_path)
        if origin.resource_field_ref:
            ref = origin.resource_field_ref
            return resource_value(pod, container, ref, sources.allocatable)
    except FieldError as error:
        raise ConfigError(str(error)) from error
    if origin.config_map_key_ref:
        return _config_map_key(origin.config_map_key_ref, sources, pod.metadata.namespace)
    if origin.secret_key_ref:
        return _secret_key(origin.secret_key_ref, sources, pod.metadata.namespace)
    return None


def _config_map_key(ref: core.ConfigMapKeySelector, sources: Sources, namespace: str) -> str | None:
    found = sources.config_maps.get(ref.name)
    if found is not None and ref.key in found.data:
        return found.data[ref.key]
    if ref.optional:
        return None
    if found is None:
        raise ConfigError(f'configmap "{ref.name}" not found')
    raise ConfigError(f"couldn't find key {ref.key} in ConfigMap {namespace}/{ref.name}")


def _secret_key(ref: core.SecretKeySelector, sources: Sources, namespace: str) -> str | None:
    found = sources.secrets.get(ref.name)
    if found is not None and ref.key in found.data:
        return secret_bytes(found, ref.key).decode(errors="replace")
    if ref.optional:
        return None
    if found is None:
        raise ConfigError(f'secret "{ref.name}" not found')
    raise ConfigError(f"couldn't find key {ref.key} in Secret {namespace}/{ref.name}")


def secret_bytes(secret: core.Secret, key: str) -> bytes:
    return base64.b64decode(secret.data[key])


def _env_from(source: core.EnvFromSource, sources: Sources) -> dict[str, str]:
    """All keys of a configMap or secret that are legal names, with the prefix."""
    if source.config_map_ref:
        ref = source.config_map_ref
        config_map = sources.config_maps.get(ref.name)
        if config_map is None and not ref.optional:
            raise ConfigError(f'configmap "{ref.name}" not found')
        pairs = dict(config_map.data) if config_map else {}
    elif source.secret_ref:
        secret = sources.secrets.get(source.secret_ref.name)
        if secret is None and not source.secret_ref.optional:
            raise ConfigError(f'secret "{source.secret_ref.name}" not found')
        pairs = _decoded(secret) if secret else {}
    else:
        pairs = {}
    named = {source.prefix + key: value for key, value in pairs.items()}
    return {key: value for key, value in named.items() if _ENV_NAME.fullmatch(key)}


def _decoded(secret: core.Secret) -> dict[str, str]:
    return {key: secret_bytes(secret, key).decode(errors="replace") for key in secret.data}


def wanted_names(containers: Iterable[core.Container]) -> tuple[set[str], set[str]]:
    """The configMaps and secrets that containers' environments refer to."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for container in containers:
        for source in container.env_from:
            if source.config_map_ref:
                config_maps.add(source.config_map_ref.name)
            if source.secret_ref:
                secrets.add(source.secret_ref.name)
        for variable in container.env:
            origin = variable.value_from
            if origin and origin.config_map_key_ref:
                config_maps.add(origin.config_map_key_ref.name)
            if origin and origin.secret_key_ref:
                secrets.add(origin.secret_key_ref.name)
    return config_maps, secrets


# ---- services


def service_env(pod: core.Pod, services: Iterable[core.Service]) -> dict[str, str]:
    """Docker-links style variables of the pod's namespace, plus the api-server's service.

    `enableServiceLinks: false` leaves only KUBERNETES_SERVICE_HOST and its kin.
    """
    links = pod.spec.enable_service_links is not False
    result: dict[str, str] = {}
    for service in sorted(services, key=lambda s: s.metadata.namespace != "default"):
        meta = service.metadata
        is_master = meta.namespace == "default" and meta.name == "kubernetes"
        if not is_master and not (links and meta.namespace == pod.metadata.namespace):
            continue
        if service.spec.cluster_ip in ("", "None") or not service.spec.ports:
            continue
        result.update(_variables(service))
    return result


def _variables(service: core.Service) -> dict[str, str]:
    name = service.metadata.name.upper().replace("-", "_").replace(".", "_")
    ip, ports = service.spec.cluster_ip, service.spec.ports
    result = {f"{name}_SERVICE_HOST": ip, f"{name}_SERVICE_PORT": str(ports[0].port)}
    for port in ports:
        if port.name:
            label = port.name.upper().replace("-", "_")
            result[f"{name}_SERVICE_PORT_{label}"] = str(port.port)
    first = ports[0]
    result[f"{name}_PORT"] = f"{(first.protocol or 'TCP').lower()}://{ip}:{first.port}"
    for port in ports:
        protocol = port.protocol or "TCP"
        prefix = f"{name}_PORT_{port.port}_{protocol}"
        result[prefix] = f"{protocol.lower()}://{ip}:{port.port}"
        result[f"{prefix}_PROTO"] = protocol.lower()
        result[f"{prefix}_PORT"] = str(port.port)
        result[f"{prefix}_ADDR"] = ip
    return result
