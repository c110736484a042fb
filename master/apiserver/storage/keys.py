"""Where objects lie under /registry, as kube-apiserver lays them out."""

from __future__ import annotations

from master.apiserver.kinds.kind import ROOT, AnyKind

MASTER_LEASES = f"{ROOT}masterleases/"


def tail_of(kind: AnyKind, namespace: str, name: str) -> str:
    """What follows the kind's prefix: the key in the watch cache."""
    return f"{namespace}/{name}" if kind.resource.namespaced else name


def key_of(kind: AnyKind, namespace: str, name: str) -> bytes:
    return (kind.prefix + tail_of(kind, namespace, name)).encode()


def key_of_claim(claim: str) -> bytes:
    """Where it is kept who owns what no two objects may own."""
    return (ROOT + claim).encode()
