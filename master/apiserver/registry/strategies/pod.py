"""Pods: defaults and admission, mostly immutable spec, graceful deletion, QoS class."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from kube.api.core import Container, Pod, PodSpec, PodStatus, ResourceRequirements, Toleration
from kube.api.meta import DeleteOptions
from kube.machinery import quantity
from kube.machinery.scheme import Resource
from master.apiserver.authz.node import MIRROR_ANNOTATION
from master.apiserver.registry.strategies.podspec import default_pod_spec
from master.apiserver.registry.strategy import Causes, StatusStrategy
from master.apiserver.registry.validation.network import validate_pod_status
from master.apiserver.registry.validation.pod import validate_pod, validate_pod_update

DEFAULT_GRACE_SECONDS = 30
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


@dataclass(frozen=True, slots=True)
class TolerationSeconds:
    """What the DefaultTolerationSeconds admission gives new pods."""

    not_ready: int = 300
    unreachable: int = 300


class PodStrategy(StatusStrategy[Pod]):
    has_generation = True
    returns_deleted = True

    def __init__(self, resource: Resource, tolerations: TolerationSeconds) -> None:
        super().__init__(resource)
        self._tolerations = tolerations

    def prepare_create(self, obj: Pod) -> Pod:
        # A mirror pod refers to nothing of the API.
        default = "" if MIRROR_ANNOTATION in obj.metadata.annotations else "default"
        spec = replace(
            obj.spec,
            service_account_name=obj.spec.service_account_name
            or obj.spec.service_account
            or default,
            # The Priority admission: without a PriorityClass everybody is equal.
            priority=0 if obj.spec.priority is None else obj.spec.priority,
            preemption_policy=obj.spec.preemption_policy or "PreemptLowerPriority",
            enable_service_links=(
                True if obj.spec.enable_service_links is None else obj.spec.enable_service_links
            ),
            tolerations=with_default_tolerations(obj.spec.tolerations, self._tolerations),
            containers=tuple(_requests_from_limits(c) for c in obj.spec.containers),
            init_containers=tuple(_requests_from_limits(c) for c in obj.spec.init_containers),
        )
        return replace(obj, spec=spec, status=PodStatus(phase="Pending", qos_class=qos_class(spec)))

    def default(self, obj: Pod) -> Pod:
        return replace(obj, spec=default_pod_spec(obj.spec))

    def prepare_status(self, new: Pod, old: Pod) -> Pod:
        # The QoS class is fixed at creation; a kubelet that leaves it out does not clear it.
        status = replace(new.status, qos_class=new.status.qos_class or old.status.qos_class)
        kept = replace(
            new.metadata,
            owner_references=old.metadata.owner_references,
        )
        return replace(new, metadata=kept, spec=old.spec, status=status)

    def validate(self, obj: Pod) -> Causes:
        return validate_pod(obj)

    def validate_status(self, obj: Pod) -> Causes:
        return validate_pod_status(obj.status)

    def validate_update(self, new: Pod, old: Pod) -> Causes:
        return validate_pod_update(new, old)

    def grace_seconds(self, obj: Pod, options: DeleteOptions) -> int | None:
        """A pod that no kubelet runs, or that has ended, needs no time."""
        if not obj.spec.node_name or obj.status.phase in ("Succeeded", "Failed"):
            return 0
        if options.grace_period_seconds is not None:
            return max(options.grace_period_seconds, 0)
        grace = obj.spec.termination_grace_period_seconds
        return DEFAULT_GRACE_SECONDS if grace is None else grace


def with_default_tolerations(
    tolerations: tuple[Toleration, ...], seconds: TolerationSeconds
) -> tuple[Toleration, ...]:
    """Add the two NoExecute tolerations unless the pod says something itself."""
    added = []
    for key, wait in ((NOT_READY, seconds.not_ready), (UNREACHABLE, seconds.unreachable)):
        if not any(t.key in ("", key) and t.effect in ("", "NoExecute") for t in tolerations):
            added.append(
                Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=wait)
            )
    return (*tolerations, *added)


def _requests_from_limits(container: Container) -> Container:
    """A limit without a request is also the request (SetDefaults_Pod)."""
    resources = container.resources
    if resources is None or not resources.limits:
        return container
    return replace(
        container,
        resources=replace(resources, requests={**resources.limits, **resources.requests}),
    )


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort (pkg/apis/core/v1/helper/qos)."""
    containers = (*spec.containers, *spec.init_containers)
    if not any(_counted(c) for c in containers):
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(c.resources) for c in containers) else "Burstable"


def _counted(container: Container) -> bool:
    resources = container.resources or ResourceRequirements()
    amounts = [*resources.requests.items(), *resources.limits.items()]
    return any(name in ("cpu", "memory") and _positive(value) for name, value in amounts)


def _is_guaranteed(resources: ResourceRequirements | None) -> bool:
    if resources is None:
        return False
    return all(
        name in resources.limits
        and _positive(resources.limits[name])
        and name in resources.requests
        and quantity.parse(resources.requests[name]) == quantity.parse(resources.limits[name])
        for name in ("cpu", "memory")
    )


def _positive(value: str | int | float) -> bool:
    try:
        return quantity.parse(value) > 0
    except ValueError:  # validation will name it
        return False
