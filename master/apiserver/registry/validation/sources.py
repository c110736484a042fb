"""Validation of where environment variables and files get their values from. Pure."""

from __future__ import annotations

import re

from kube.api.core import Container, EnvFromSource, EnvVar, ObjectFieldSelector
from kube.api.core import ResourceFieldSelector as ResourceRef
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.metadata import qualified_name

Causes = list[StatusCause]
_ENV = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_ENV_TEXT = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', "
    "or '.', and must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or "
    "'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')"
)
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_SUBSCRIPT = re.compile(r"metadata\.(?:labels|annotations)\['([^']*)'\]")
ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
    "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace",
    "metadata.uid",
)  # fmt: skip
_RESOURCES = tuple(
    f"{kind}.{name}"
    for kind in ("limits", "requests")
    for name in ("cpu", "memory", "ephemeral-storage")
)
_ONE_OF = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or "
    "`fileKeyRef`"
)


def config_key_problem(key: str) -> str | None:
    """What is wrong with a key of a ConfigMap or Secret, if anything."""
    if len(key) > 253:
        return "must be no more than 253 characters"
    if not _CONFIG_KEY.fullmatch(key):
        return _CONFIG_KEY_TEXT
    if key == ".":
        return "must not be '.'"
    if key.startswith(".."):
        return "must not be '..'" if key == ".." else "must not start with '..'"
    return None


def config_key(path: str, key: str) -> Causes:
    if not key:
        return [field.required(path)]
    why = config_key_problem(key)
    return [field.invalid(path, key, why)] if why else []


def field_ref(ref: ObjectFieldSelector, path: str, supported: tuple[str, ...]) -> Causes:
    if not ref.field_path:
        return [field.required(f"{path}.fieldPath")]
    if found := _SUBSCRIPT.fullmatch(ref.field_path):
        why = qualified_name(found[1])
        return [field.invalid(f"{path}.fieldPath", ref.field_path, why)] if why else []
    if ref.field_path not in supported:
        return [field.not_supported(f"{path}.fieldPath", ref.field_path, supported)]
    return []


def resource_ref(ref: ResourceRef, path: str, *, in_volume: bool) -> Causes:
    if in_volume and not ref.container_name:
        return [field.required(f"{path}.containerName")]
    if not ref.resource:
        return [field.required(f"{path}.resource")]
    huge = ref.resource.startswith(("limits.hugepages-", "requests.hugepages-"))
    if ref.resource not in _RESOURCES and not huge:
        return [field.not_supported(f"{path}.resource", ref.resource, _RESOURCES)]
    return []


def validate_env(container: Container, path: str) -> Causes:
    causes: Causes = []
    for index, env in enumerate(container.env):
        here = f"{path}.env[{index}]"
        if not env.name:
            causes.append(field.required(f"{here}.name"))
        elif not _ENV.fullmatch(env.name):
            causes.append(field.invalid(f"{here}.name", env.name, _ENV_TEXT))
        causes += formats.no_nul(f"{here}.value", env.value)
        causes += _value_from(env, f"{here}.valueFrom")
    for index, source in enumerate(container.env_from):
        causes += _env_from(source, f"{path}.envFrom[{index}]")
    return causes


def _value_from(env: EnvVar, path: str) -> Causes:
    source = env.value_from
    if source is None:
        return []
    if env.value:
        text = "may not be specified when `value` is not empty"
        return [field.invalid(path, "", text)]
    causes: Causes = []
    if source.field_ref:
        causes += field_ref(source.field_ref, f"{path}.fieldRef", ENV_FIELDS)
    if source.resource_field_ref:
        causes += resource_ref(
            source.resource_field_ref, f"{path}.resourceFieldRef", in_volume=False
        )
    for name, ref in (
        ("configMapKeyRef", source.config_map_key_ref),
        ("secretKeyRef", source.secret_key_ref),
    ):
        if ref is not None:
            causes += [] if ref.name else [field.required(f"{path}.{name}.name")]
            causes += config_key(f"{path}.{name}.key", ref.key)
    given = [source.field_ref, source.resource_field_ref, source.config_map_key_ref,
             source.secret_key_ref]  # fmt: skip
    number = sum(ref is not None for ref in given)
    if number == 0:
        causes.append(field.invalid(path, "", _ONE_OF))
    elif number > 1:
        causes.append(
            field.invalid(path, "", "may not have more than one field specified at a time")
        )
    return causes


def _env_from(source: EnvFromSource, path: str) -> Causes:
    causes: Causes = []
    if source.prefix and not _ENV.fullmatch(source.prefix):
        causes.append(field.invalid(f"{path}.prefix", source.prefix, _ENV_TEXT))
    given = [
        (name, ref)
        for name, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref))
        if ref is not None
    ]
    if not given:
        causes.append(field.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    if len(given) > 1:
        causes.append(
            field.invalid(path, "", "may not have more than one field specified at a time")
        )
    return causes + [field.required(f"{path}.{n}.name") for n, ref in given if not ref.name]
