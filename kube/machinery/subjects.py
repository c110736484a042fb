"""Users and groups that certificates name and authorizers know (kubeadm's names). Pure."""

from __future__ import annotations

NODES = "system:nodes"  # the group of kubelets
NODE_PREFIX = "system:node:"


def node_user(name: str) -> str:
    """Whom a node's kubelet is."""
    return NODE_PREFIX + name
