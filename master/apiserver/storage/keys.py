"""Where each kind lies under /registry, as kube-apiserver lays them out."""

from __future__ import annotations

from kube.machinery.scheme import RESOURCES, Resource

ROOT = "/registry/"
# What is not /registry/<plural>/ upstream for historical reasons.
_SPECIAL = {
    ("", "nodes"): "minions",
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
}
# Kept beside the objects, by the same Txns: who owns a cluster IP or a node port.
CLUSTER_IPS = f"{ROOT}ipaddresses/"
NODE_PORTS = f"{ROOT}nodeports/"
MASTER_LEASES = f"{ROOT}masterleases/"


def prefix_of(resource: Resource) -> str:
    """`/registry/pods/`: the prefix of a kind's keys."""
    place = _SPECIAL.get((resource.group, resource.plural), resource.plural)
    return f"{ROOT}{place}/"


def key_of(resource: Resource, namespace: str, name: str) -> bytes:
    tail = f"{namespace}/{name}" if resource.namespaced else name
    return (prefix_of(resource) + tail).encode()


_PREFIXES = sorted(
    ((prefix_of(resource), resource) for resource in RESOURCES), key=lambda item: -len(item[0])
)


def resource_of_key(key: str) -> tuple[Resource, str] | None:
    """The kind that a store key belongs to and the rest of the key (`ns/name` or `name`)."""
    for prefix, resource in _PREFIXES:
        if key.startswith(prefix):
            return resource, key[len(prefix) :]
    return None
