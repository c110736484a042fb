"""Validation of Pods and pod templates (pkg/apis/core/validation/validation.go). Pure.

What a pod says of one subject is judged in a module of its own; this one puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from kube.api.base import Quantity
from kube.api.core import Container, Pod, PodSpec, ResourceRequirements, Toleration
from kube.api.meta import StatusCause
from kube.machinery import quantity
from master.apiserver.registry.validation import field, formats
from master.apiserver.registry.validation.counts import validate_counts
from master.apiserver.registry.validation.metadata import (
    dns_label,
    dns_subdomain,
    qualified_name,
)
from master.apiserver.registry.validation.network import (
    validate_container_ports,
    validate_host_ports,
    validate_network,
)
from master.apiserver.registry.validation.probes import validate_lifecycle, validate_probes
from master.apiserver.registry.validation.scheduling import validate_scheduling
from master.apiserver.registry.validation.security import (
    validate_container_security,
    validate_pod_security,
)
from master.apiserver.registry.validation.sources import validate_env
from master.apiserver.registry.validation.volumes import validate_mounts, validate_volumes

Causes = list[StatusCause]
_PULL = ("Always", "IfNotPresent", "Never")
_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_MESSAGES = ("File", "FallbackToLogsOnError")
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
    "set to 1 if it was previously negative)"
)


def validate_pod(pod: Pod) -> Causes:
    return validate_pod_spec(pod.spec, "spec")


def validate_pod_spec(spec: PodSpec, path: str) -> Causes:
    causes = validate_counts(spec, path)
    if causes:
        return causes
    volumes = validate_volumes(spec, path, causes)
    causes += _containers(spec, path, volumes)
    causes += validate_host_ports(spec, path)
    causes += _one_of(f"{path}.restartPolicy", spec.restart_policy, _RESTART)
    causes += _one_of(f"{path}.dnsPolicy", spec.dns_policy, _DNS)
    if spec.preemption_policy:
        causes += _one_of(f"{path}.preemptionPolicy", spec.preemption_policy, _PREEMPTION)
    causes += validate_scheduling(spec, path)
    causes += validate_network(spec, path)
    causes += validate_pod_security(spec, path)
    causes += _amounts(spec.overhead, f"{path}.overhead")
    causes += formats.within(
        f"{path}.activeDeadlineSeconds", spec.active_deadline_seconds, 1, 2**31 - 1
    )
    causes += formats.at_least(
        f"{path}.terminationGracePeriodSeconds", spec.termination_grace_period_seconds, 0
    )
    for name, value, rule in (
        ("serviceAccountName", spec.service_account_name, dns_subdomain),
        ("nodeName", spec.node_name, dns_subdomain),
        ("hostname", spec.hostname, dns_label),
        ("subdomain", spec.subdomain, dns_label),
        ("schedulerName", spec.scheduler_name, dns_subdomain),
        ("runtimeClassName", spec.runtime_class_name, dns_subdomain),
    ):
        if value and (why := rule(value)):
            causes.append(field.invalid(f"{path}.{name}", value, why))
    return causes


def _one_of(path: str, value: str, choices: Iterable[str]) -> Causes:
    if value in choices:
        return []
    return [field.not_supported(path, value, choices) if value else field.required(path)]


def _containers(spec: PodSpec, path: str, volumes: set[str]) -> Causes:
    causes: Causes = []
    names: set[str] = set()
    for kind, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        for index, container in enumerate(containers):
            here = f"{path}.{kind}[{index}]"
            causes += _container(container, here, spec, volumes, init=kind == "initContainers")
            if container.name in names:
                causes.append(field.duplicate(f"{here}.name", container.name))
            names.add(container.name)
    return causes


def _container(
    container: Container, path: str, spec: PodSpec, volumes: set[str], *, init: bool
) -> Causes:
    causes: Causes = []
    if not container.name:
        causes.append(field.required(f"{path}.name"))
    elif why := dns_label(container.name):
        causes.append(field.invalid(f"{path}.name", container.name, why))
    if not container.image:
        causes.append(field.required(f"{path}.image"))
    elif container.image != container.image.strip():
        text = "must not have leading or trailing whitespace"
        causes.append(field.invalid(f"{path}.image", container.image, text))
    causes += formats.one_line(f"{path}.image", container.image)
    causes += _one_of(f"{path}.imagePullPolicy", container.image_pull_policy, _PULL)
    causes += _one_of(
        f"{path}.terminationMessagePolicy",
        container.termination_message_policy or "File",
        _MESSAGES,
    )
    causes += formats.no_nul(f"{path}.terminationMessagePath", container.termination_message_path)
    causes += formats.no_nul(f"{path}.workingDir", container.working_dir)
    for name, words in (("command", container.command), ("args", container.args)):
        for index, word in enumerate(words):
            causes += formats.no_nul(f"{path}.{name}[{index}]", word)
    causes += validate_container_ports(container, path, spec)
    causes += validate_env(container, path)
    causes += validate_mounts(container, path, volumes)
    if container.resources:
        causes += _resources(container.resources, f"{path}.resources")
    causes += validate_probes(container, path, init=init)
    causes += validate_lifecycle(container, path, spec.termination_grace_period_seconds)
    return causes + validate_container_security(container.security_context, path)


def _amounts(amounts: dict[str, Quantity], path: str) -> Causes:
    """Each a resource that a container may have, and an amount of it."""
    causes: Causes = []
    for name, value in amounts.items():
        if why := qualified_name(name):
            causes.append(field.invalid(path, name, why))
        elif "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
            text = "must be a standard resource type or fully qualified"
            causes.append(field.invalid(path, name, text))
        try:
            number = quantity.parse(value)
        except ValueError as error:
            causes.append(field.invalid(f"{path}[{name}]", value, str(error)))
            continue
        if number < 0:
            text = "must be greater than or equal to 0"
            causes.append(field.invalid(f"{path}[{name}]", str(value), text))
        if "/" in name and number != number.to_integral_value():
            causes.append(field.invalid(f"{path}[{name}]", str(value), "must be an integer"))
    return causes


def _resources(resources: ResourceRequirements, path: str) -> Causes:
    causes = _amounts(resources.limits, f"{path}.limits")
    causes += _amounts(resources.requests, f"{path}.requests")
    for name, value in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and _exceeds(value, limit):
            text = f"must be less than or equal to {name} limit of {limit}"
            causes.append(field.invalid(f"{path}.requests", str(value), text))
    return causes


def _exceeds(request: Quantity, limit: Quantity) -> bool:
    try:
        return quantity.parse(request) > quantity.parse(limit)
    except ValueError:  # the limit itself is reported
        return False


def validate_pod_update(new: Pod, old: Pod) -> Causes:
    """Only images, the deadline, and added tolerations may change; and gates may go (KEP-3521)."""
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
    for gate in new.spec.scheduling_gates:
        if gate not in old.spec.scheduling_gates:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            causes.append(field.forbidden("spec.schedulingGates", text))
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
        scheduling_gates=old.spec.scheduling_gates,
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
