"""What a kubelet may do (the Node authorizer and NodeRestriction admission, in one place).

A node reads and writes itself, its lease and the pods bound to it, and reads exactly the
Secrets and ConfigMaps that those pods refer to. Pure: the pods come from the caller's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from master.apiserver.auth.rules import READ, Attributes, PolicyRule
from muster.api.core import Container, Pod

NODE_LEASES = "kube-node-lease"
# Of a node: the pods bound to it in a namespace ("" = its name is enough).
PodsOf = Callable[[str, str], Iterable[Pod]]

_PLAIN = (
    PolicyRule(READ, ("",), ("nodes", "services", "endpoints")),
    PolicyRule(READ, ("discovery.k8s.io",), ("endpointslices",)),
    PolicyRule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",)),
    PolicyRule(("create",), ("",), ("nodes",)),
)
_SELF = PolicyRule(("get", "update", "patch", "delete"), ("",), ("nodes", "nodes/status"))
_LEASE = PolicyRule(
    ("get", "create", "update", "patch", "delete"), ("coordination.k8s.io",), ("leases",)
)
_POD = PolicyRule(
    ("get", "delete", "update", "patch", "create"), ("",), ("pods/status", "pods/eviction")
)


def node_allows(node: str, asked: Attributes, pods_of: PodsOf) -> bool:
    if asked.path:
        return False
    if any(rule.allows(asked) for rule in _PLAIN):
        return True
    if _SELF.allows(asked):
        return asked.name == node
    if asked.resource == "leases":
        own = asked.namespace == NODE_LEASES and (asked.name == node or asked.verb == "create")
        return own and _LEASE.allows(asked)
    if asked.resource == "pods":
        return _pod_allows(node, asked, pods_of)
    if asked.resource in ("secrets", "configmaps") and not asked.group and asked.name:
        return asked.verb in READ and _refers(node, asked, pods_of)
    return False


def _pod_allows(node: str, asked: Attributes, pods_of: PodsOf) -> bool:
    if asked.verb in ("list", "watch"):
        return asked.pinned_node == node
    if not asked.subresource and asked.verb == "create":
        return True  # mirror pods; the registry checks that they name this node
    if asked.subresource and not _POD.allows(asked):
        return False
    if not asked.subresource and asked.verb not in ("get", "delete"):
        return False
    return any(pod.metadata.name == asked.name for pod in pods_of(node, asked.namespace))


def _refers(node: str, asked: Attributes, pods_of: PodsOf) -> bool:
    return any(
        (asked.resource, asked.name) in set(references(pod))
        for pod in pods_of(node, asked.namespace)
    )


def references(pod: Pod) -> Iterator[tuple[str, str]]:
    """The Secrets and ConfigMaps that the pod's kubelet has to read."""
    for secret in pod.spec.image_pull_secrets:
        yield "secrets", secret.name
    for volume in pod.spec.volumes:
        if volume.secret:
            yield "secrets", volume.secret.secret_name
        if volume.config_map:
            yield "configmaps", volume.config_map.name
        for source in volume.projected.sources if volume.projected else ():
            if source.secret:
                yield "secrets", source.secret.name
            if source.config_map:
                yield "configmaps", source.config_map.name
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        yield from _container_references(container)


def _container_references(container: Container) -> Iterator[tuple[str, str]]:
    for source in container.env_from:
        if source.secret_ref:
            yield "secrets", source.secret_ref.name
        if source.config_map_ref:
            yield "configmaps", source.config_map_ref.name
    for env in container.env:
        if env.value_from and env.value_from.secret_key_ref:
            yield "secrets", env.value_from.secret_key_ref.name
        if env.value_from and env.value_from.config_map_key_ref:
            yield "configmaps", env.value_from.config_map_key_ref.name
