"""Where each kind lies under /registry, as kube-apiserver lays them out."""

from __future__ import annotations

from kube.machinery.scheme import Resource
from master.apiserver.kinds.catalog import KINDS, kind_of

ROOT = "/registry/"
MASTER_LEASES = f"{ROOT}masterleases/"


def prefix_of(resource: Resource) -> str:
    """`/registry/pods/`: the prefix of a kind's keys."""
    return f"{ROOT}{kind_of(resource).stored_under or resource.plural}/"


def key_of(resource: Resource, namespace: str, name: str) -> bytes:
    tail = f"{namespace}/{name}" if resource.namespaced else name
    return (prefix_of(resource) + tail).encode()


def key_of_claim(claim: str) -> bytes:
    """Where it is kept who owns what no two objects may own."""
    return (ROOT + claim).encode()


_PREFIXES = sorted(
    ((prefix_of(kind.resource), kind.resource) for kind in KINDS), key=lambda item: -len(item[0])
)


def resource_of_key(key: str) -> tuple[Resource, str] | None:
    """The kind that a store key belongs to and the rest of the key (`ns/name` or `name`)."""
    for prefix, resource in _PREFIXES:
        if key.startswith(prefix):
            return resource, key[len(prefix) :]
    return None


# Where claims lie below the root.
CLAIMS = tuple(prefix for kind in KINDS if kind.claims for prefix in kind.claims.prefixes)
