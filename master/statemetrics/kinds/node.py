"""Nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import Node, NodeSystemInfo
from master.statemetrics.family import Family, Sample, StateKind, plain, statuses
from master.statemetrics.metadata import created, deleted, identity
from master.statemetrics.resources import amounts

_ROLE = "node-role.kubernetes.io/"


def _info(node: Node) -> Iterable[Sample]:
    info = node.status.node_info or NodeSystemInfo()
    internal = [a.address for a in node.status.addresses if a.type == "InternalIP"]
    labels = {
        "kernel_version": info.kernel_version,
        "os_image": info.os_image,
        "container_runtime_version": info.container_runtime_version,
        "kubelet_version": info.kubelet_version,
        "kubeproxy_version": "deprecated",
        "provider_id": node.spec.provider_id,
        "pod_cidr": node.spec.pod_cidr,
        "system_uuid": info.system_uuid,
        "internal_ip": internal[0] if internal else "",
    }
    return ((labels, 1),)


def _roles(node: Node) -> Iterable[Sample]:
    for key in node.metadata.labels:
        if key.startswith(_ROLE):
            yield {"role": key.removeprefix(_ROLE)}, 1


def _taints(node: Node) -> Iterable[Sample]:
    for taint in node.spec.taints:
        yield {"key": taint.key, "value": taint.value, "effect": taint.effect}, 1


def _conditions(node: Node) -> Iterable[Sample]:
    for condition in node.status.conditions:
        yield from statuses(condition.status, condition=condition.type)


KIND = StateKind(
    "nodes",
    Node,
    identity("node", namespaced=False),
    (
        created("kube_node"),
        deleted("kube_node"),
        Family("kube_node_info", "A node of the cluster.", _info),
        Family("kube_node_role", "The node's roles.", _roles),
        Family(
            "kube_node_spec_pod_cidrs",
            "Where the node's pods have their addresses from.",
            lambda node: [({"pod_cidr": cidr}, 1) for cidr in node.spec.pod_cidrs],
        ),
        Family("kube_node_spec_taint", "The node's taints.", _taints),
        plain(
            "kube_node_spec_unschedulable",
            "Whether the node is cordoned.",
            lambda node: float(bool(node.spec.unschedulable)),
        ),
        Family(
            "kube_node_status_addresses",
            "The node's addresses.",
            lambda node: [
                ({"type": a.type, "address": a.address}, 1) for a in node.status.addresses
            ],
        ),
        Family(
            "kube_node_status_allocatable",
            "What the node has for pods.",
            lambda node: amounts(node.status.allocatable),
        ),
        Family(
            "kube_node_status_capacity",
            "What the node has.",
            lambda node: amounts(node.status.capacity),
        ),
        Family("kube_node_status_condition", "The node's conditions.", _conditions),
    ),
)
