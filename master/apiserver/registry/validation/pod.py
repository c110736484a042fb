"""Validation of Pods and pod templates (pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import (
    dns_label,
    dns_subdomain,
    qualified_name,
    validate_labels,
)
from muster.api import quantity
from muster.api.base import Quantity
from muster.api.core import (
    Container,
    Pod,
    PodSpec,
    Probe,
    ResourceRequirements,
    Toleration,
)
from muster.api.meta import StatusCause

Causes = list[StatusCause]
_ENV = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_PULL = ("Always", "IfNotPresent", "Never")
_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
    "set to 1 if it was previously negative)"
)


def validate_pod(pod: Pod) -> Causes:
    return validate_pod_spec(pod.spec, "spec")


def validate_pod_spec(spec: PodSpec, path: str) -> Causes:
    causes: Causes = []
    volumes = _volumes(spec, path, causes)
    if not spec.containers:
        causes.append(field.required(f"{path}.containers"))
    names: set[str] = set()
    for kind, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        for index, container in enumerate(containers):
            here = f"{path}.{kind}[{index}]"
            causes += _container(container, here, volumes, init=kind == "initContainers")
            if container.name in names:
                causes.append(field.duplicate(f"{here}.name", container.name))
            names.add(container.name)
    causes += _one_of(f"{path}.restartPolicy", spec.restart_policy, _RESTART)
    causes += _one_of(f"{path}.dnsPolicy", spec.dns_policy, _DNS)
    causes += validate_labels(spec.node_selector, f"{path}.nodeSelector")
    causes += _tolerations(spec.tolerations, f"{path}.tolerations")
    if spec.active_deadline_seconds is not None and spec.active_deadline_seconds < 1:
        causes.append(
            field.invalid(
                f"{path}.activeDeadlineSeconds",
                spec.active_deadline_seconds,
                "must be between 1 and 2147483647, inclusive",
            )
        )
    grace = spec.termination_grace_period_seconds
    if grace is not None and grace < 0:
        causes.append(
            field.invalid(
                f"{path}.terminationGracePeriodSeconds",
                grace,
                "must be greater than or equal to 0",
            )
        )
    for name, value, rule in (
        ("serviceAccountName", spec.service_account_name, dns_subdomain),
        ("nodeName", spec.node_name, dns_subdomain),
        ("hostname", spec.hostname, dns_label),
        ("subdomain", spec.subdomain, dns_label),
    ):
        if value and (why := rule(value)):
            causes.append(field.invalid(f"{path}.{name}", value, why))
    return causes


def _one_of(path: str, value: str, choices: Iterable[str]) -> Causes:
    if value in choices:
        return []
    return [field.not_supported(path, value, choices) if value else field.required(path)]


def _volumes(spec: PodSpec, path: str, causes: Causes) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(spec.volumes):
        here = f"{path}.volumes[{index}]"
        if not volume.name:
            causes.append(field.required(f"{here}.name"))
        elif why := dns_label(volume.name):
            causes.append(field.invalid(f"{here}.name", volume.name, why))
        if volume.name in names:
            causes.append(field.duplicate(f"{here}.name", volume.name))
        names.add(volume.name)
        sources = [name for name in msgspec.to_builtins(volume) if name != "name"]
        for extra in sources[1:]:
            causes.append(
                field.forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
            )
        if volume.host_path and not volume.host_path.path:
            causes.append(field.required(f"{here}.hostPath.path"))
        if volume.secret and not volume.secret.secret_name:
            causes.append(field.required(f"{here}.secret.secretName"))
        if volume.config_map and not volume.config_map.name:
            causes.append(field.required(f"{here}.configMap.name"))
    return names


def _container(container: Container, path: str, volumes: set[str], *, init: bool) -> Causes:
    causes: Causes = []
    if not container.name:
        causes.append(field.required(f"{path}.name"))
    elif why := dns_label(container.name):
        causes.append(field.invalid(f"{path}.name", container.name, why))
    if not container.image:
        causes.append(field.required(f"{path}.image"))
    elif container.image != container.image.strip():
        causes.append(
            field.invalid(
                f"{path}.image",
                container.image,
                "must not have leading or trailing whitespace",
            )
        )
    causes += _one_of(f"{path}.imagePullPolicy", container.image_pull_policy, _PULL)
    causes += _ports(container, path)
    causes += _env_vars(container, path)
    causes += _mounts(container, path, volumes)
    if container.resources:
        causes += _resources(container.resources, f"{path}.resources")
    sidecar = container.restart_policy == "Always"
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is None:
            continue
        if init and not sidecar:
            causes.append(
                field.forbidden(
                    f"{path}.{name}",
                    "may not be set for init containers without restartPolicy=Always",
                )
            )
        causes += _probe(probe, f"{path}.{name}", single=name != "readinessProbe")
    return causes


def _ports(container: Container, path: str) -> Causes:
    causes: Causes = []
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        here = f"{path}.ports[{index}]"
        if not port.container_port:
            causes.append(field.required(f"{here}.containerPort"))
        elif not 1 <= port.container_port <= 65535:
            causes.append(
                field.invalid(
                    f"{here}.containerPort",
                    port.container_port,
                    "must be between 1 and 65535, inclusive",
                )
            )
        causes += _one_of(f"{here}.protocol", port.protocol, _PROTOCOLS)
        if port.name and port.name in names:
            causes.append(field.duplicate(f"{here}.name", port.name))
        names.add(port.name)
    return causes


def _env_vars(container: Container, path: str) -> Causes:
    causes: Causes = []
    for index, env in enumerate(container.env):
        here = f"{path}.env[{index}]"
        if not env.name:
            causes.append(field.required(f"{here}.name"))
        elif not _ENV.fullmatch(env.name):
            causes.append(
                field.invalid(
                    f"{here}.name",
                    env.name,
                    "a valid environment variable name must consist of alphabetic characters, "
                    "digits, '_', '-', or '.', and must not start with a digit (e.g. "
                    "'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for "
                    "validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')",
                )
            )
        if env.value_from and env.value:
            causes.append(
                field.invalid(
                    f"{here}.valueFrom", "", "may not be specified when `value` is not empty"
                )
            )
    return causes


def _mounts(container: Container, path: str, volumes: set[str]) -> Causes:
    causes: Causes = []
    seen: set[str] = set()
    for index, mount in enumerate(container.volume_mounts):
        here = f"{path}.volumeMounts[{index}]"
        if not mount.name:
            causes.append(field.required(f"{here}.name"))
        elif mount.name not in volumes:
            causes.append(field.not_found(f"{here}.name", mount.name))
        if not mount.mount_path:
            causes.append(field.required(f"{here}.mountPath"))
        elif mount.mount_path in seen:
            causes.append(field.invalid(f"{here}.mountPath", mount.mount_path, "must be unique"))
        seen.add(mount.mount_path)
    return causes


def _resources(resources: ResourceRequirements, path: str) -> Causes:
    causes: Causes = []
    for kind, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name, value in amounts.items():
            here = f"{path}.{kind}[{name}]"
            if why := qualified_name(name):
                causes.append(field.invalid(f"{path}.{kind}", name, why))
            try:
                number = quantity.parse(value)
            except ValueError as error:
                causes.append(field.invalid(here, value, str(error)))
                continue
            if number < 0:
                causes.append(field.invalid(here, str(value), "must be greater than or equal to 0"))
            limit = resources.limits.get(name)
            if kind == "requests" and limit is not None and _exceeds(value, limit):
                causes.append(
                    field.invalid(
                        f"{path}.requests",
                        str(value),
                        f"must be less than or equal to {name} limit of {limit}",
                    )
                )
    return causes


def _exceeds(request: Quantity, limit: Quantity) -> bool:
    try:
        return quantity.parse(request) > quantity.parse(limit)
    except ValueError:  # the limit itself is reported
        return False


def _probe(probe: Probe, path: str, *, single: bool) -> Causes:
    causes: Causes = []
    handlers = [h for h in (probe.exec_, probe.http_get, probe.tcp_socket, probe.grpc) if h]
    if not handlers:
        causes.append(field.required(path, "must specify a handler type"))
    if len(handlers) > 1:
        causes.append(field.forbidden(path, "may not specify more than 1 handler type"))
    if single and probe.success_threshold not in (None, 1):
        causes.append(
            field.invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1")
        )
    for name, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("failureThreshold", probe.failure_threshold),
    ):
        if value is not None and value < 0:
            causes.append(
                field.invalid(f"{path}.{name}", value, "must be greater than or equal to 0")
            )
    return causes


def _tolerations(tolerations: tuple[Toleration, ...], path: str) -> Causes:
    causes: Causes = []
    for index, toleration in enumerate(tolerations):
        here = f"{path}[{index}]"
        if toleration.key and (why := qualified_name(toleration.key)):
            causes.append(field.invalid(f"{here}.key", toleration.key, why))
        if not toleration.key and toleration.operator != "Exists":
            causes.append(
                field.invalid(
                    f"{here}.operator",
                    toleration.operator,
                    "operator must be Exists when `key` is empty, which means "
                    '"match all values and all keys"',
                )
            )
        if toleration.operator == "Exists" and toleration.value:
            causes.append(
                field.invalid(
                    f"{here}.operator", {}, "value must be empty when `operator` is 'Exists'"
                )
            )
        if toleration.operator not in ("", "Equal", "Exists"):
            causes.append(
                field.not_supported(f"{here}.operator", toleration.operator, ("Equal", "Exists"))
            )
        if toleration.effect and toleration.effect not in _EFFECTS:
            causes.append(field.not_supported(f"{here}.effect", toleration.effect, _EFFECTS))
    return causes


def validate_pod_update(new: Pod, old: Pod) -> Causes:
    """Only images, the deadline, and added tolerations may change; and, while unbound, gates."""
    causes: Causes = []
    if old.spec.node_name and new.spec.node_name != old.spec.node_name:
        return [field.forbidden("spec", _IMMUTABLE)]
    if any(t not in new.spec.tolerations for t in _without_seconds(old, new)):
        causes.append(
            field.forbidden(
                "spec.tolerations",
                "existing toleration can not be modified except its tolerationSeconds",
            )
        )
    if len(new.spec.containers) != len(old.spec.containers):
        causes.append(
            field.forbidden("spec.containers", "pod updates may not add or remove containers")
        )
        return causes
    allowed = replace(
        new.spec,
        containers=_with_images_of(new.spec.containers, old.spec.containers),
        init_containers=_with_images_of(new.spec.init_containers, old.spec.init_containers),
        active_deadline_seconds=old.spec.active_deadline_seconds,
        tolerations=old.spec.tolerations,
        node_name=old.spec.node_name,
    )
    if allowed != old.spec:
        causes.append(field.forbidden("spec", _IMMUTABLE))
    return causes


def _without_seconds(old: Pod, new: Pod) -> list[Toleration]:
    """The old tolerations, with the seconds that their successors in `new` have."""
    seconds = {
        (t.key, t.operator, t.value, t.effect): t.toleration_seconds for t in new.spec.tolerations
    }
    return [
        replace(
            t,
            toleration_seconds=seconds.get(
                (t.key, t.operator, t.value, t.effect), t.toleration_seconds
            ),
        )
        for t in old.spec.tolerations
    ]


def _with_images_of(
    new: tuple[Container, ...], old: tuple[Container, ...]
) -> tuple[Container, ...]:
    if len(new) != len(old):
        return new
    return tuple(replace(n, image=o.image) for n, o in zip(new, old, strict=True))
