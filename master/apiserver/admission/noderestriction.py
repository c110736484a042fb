"""NodeRestriction: a kubelet writes its own Node, its own Lease, and pods bound to it. Pure.

The Node authorizer lets a kubelet at the verbs; this looks into what it writes. Texts are
upstream's (plugin/pkg/admission/noderestriction). Where this is stricter than upstream, a comment
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from kube.api.coordination import Lease
from kube.api.core import Node, Pod
from kube.api.meta import OwnerReference
from kube.machinery.errors import StatusError, not_found
from kube.machinery.nodelabels import is_kubelets
from kube.machinery.scheme import ApiObject
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden
from master.apiserver.authz.node import MIRROR_ANNOTATION, NODE_LEASES
from master.apiserver.authz.references import refers_to

Lookup = Callable[[type[ApiObject], str, str], ApiObject | None]
_SAME_NAME = "can only access node lease with the same name as the requesting node"


async def admit(asked: Attributes, world: World) -> msgspec.Struct | None:
    if error := refusal(asked, world.lookup):
        raise error
    return asked.new


def refusal(asked: Attributes, lookup: Lookup) -> StatusError | None:
    """Why this write of a node is refused; None when it may go on, or is no node's."""
    if not asked.user.is_node:
        return None
    if not asked.user.node_name:
        return forbidden(asked, f'could not determine node from user "{asked.user.name}"')
    if asked.resource.type is Pod:
        return _pods(asked, lookup)
    if asked.resource.type is Node:
        return _refused(asked, _node(asked))
    if asked.resource.type is Lease:
        return _refused(asked, _lease(asked))
    return None


def _refused(asked: Attributes, why: str) -> StatusError | None:
    return forbidden(asked, why) if why else None


# pods


def _pods(asked: Attributes, lookup: Lookup) -> StatusError | None:
    match asked.subresource, asked.operation:
        case "", "CREATE":
            return _mirror_pod(asked, lookup)
        case "", "DELETE":
            return _refused(asked, _bound(asked, "can only delete pods"))
        case "", _:
            why = (
                f'unexpected operation "{asked.operation}", node "{asked.user.node_name}" can '
                "only create and delete mirror pods"
            )
        case "status", "UPDATE":
            why = _pod_status(asked)
        case "eviction", "CREATE":
            # Upstream's text has no quotation marks here.
            why = _bound(asked, "can only evict pods").replace('"', "")
        case "status" | "eviction", _:
            why = f'unexpected operation "{asked.operation}"'
        case _:
            why = (
                f"unexpected pod subresource \"{asked.subresource}\", only 'status' and "
                "'eviction' are allowed"
            )
    return _refused(asked, why)


def _bound(asked: Attributes, what: str) -> str:
    node = asked.user.node_name
    if isinstance(asked.old, Pod) and asked.old.spec.node_name == node:
        return ""
    return f'node "{node}" {what} with spec.nodeName set to itself'


def _mirror_pod(asked: Attributes, lookup: Lookup) -> StatusError | None:
    """A node creates mirror pods of its own static pods, which refer to nothing else."""
    pod, node = asked.new, asked.user.node_name
    assert isinstance(pod, Pod)
    if MIRROR_ANNOTATION not in pod.metadata.annotations:
        why = f'pod does not have "{MIRROR_ANNOTATION}" annotation, node "{node}" can only create '
        return forbidden(asked, f"{why}mirror pods")
    can = f'node "{node}" can only create pods with'
    if pod.spec.node_name != node:
        return forbidden(asked, f"{can} spec.nodeName set to itself")
    if len(pod.metadata.owner_references) > 1:
        return forbidden(asked, f"{can} a single owner reference set to itself")
    if not pod.metadata.owner_references:
        return forbidden(asked, f"{can} an owner reference set to itself")
    owner = pod.metadata.owner_references[0]
    if why := _owner(owner, node):
        return forbidden(asked, why)
    own = lookup(Node, "", node)
    if own is None:
        return not_found("nodes", "", node)
    if owner.uid != own.metadata.uid:
        mismatch = f"UID mismatch: expected {owner.uid} got {own.metadata.uid}"
        return forbidden(asked, f"node {node} {mismatch}")
    return _refused(asked, _refers_to_others(pod, node))


def _owner(owner: OwnerReference, node: str) -> str:
    can = f'node "{node}" can only create pods with'
    if (owner.api_version, owner.kind, owner.name) != ("v1", "Node", node):
        return f"{can} an owner reference set to itself"
    if not owner.controller:
        return f"{can} a controller owner reference set to itself"
    if owner.block_owner_deletion:
        return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
    return ""


def _refers_to_others(pod: Pod, node: str) -> str:
    can_not = f'node "{node}" can not create pods that reference'
    spec = pod.spec
    if spec.service_account_name or spec.service_account:
        return f"{can_not} a service account"
    for plural in ("secrets", "configmaps"):
        if refers_to(pod, plural):
            return f"{can_not} {plural}"
    sources = [s for v in spec.volumes if v.projected for s in v.projected.sources]
    if any(source.cluster_trust_bundle for source in sources):
        return f"{can_not} clustertrustbundles"
    # A generic ephemeral volume makes a claim of its own: stricter than upstream.
    if any(volume.persistent_volume_claim or volume.ephemeral for volume in spec.volumes):
        return f"{can_not} persistentvolumeclaims"
    if spec.resource_claims:
        return f"{can_not} resourceclaims"
    return ""


def _pod_status(asked: Attributes) -> str:
    new, old, node = asked.new, asked.old, asked.user.node_name
    assert isinstance(new, Pod) and isinstance(old, Pod)
    if old.spec.node_name != node:
        return _bound(asked, "can only update pod status for pods")
    if new.metadata.labels != old.metadata.labels:
        return f'node "{node}" cannot update labels through pod status'
    # Stricter than upstream, which lets the status endpoint change annotations and finalizers.
    if new.metadata.annotations != old.metadata.annotations:
        return f'node "{node}" cannot update annotations through pod status'
    if new.metadata.finalizers != old.metadata.finalizers:
        return f'node "{node}" cannot update finalizers through pod status'
    if new.status.resource_claim_statuses != old.status.resource_claim_statuses:
        return f'node "{node}" cannot update resource claim statues'  # sic
    return ""


# nodes and leases


def _node(asked: Attributes) -> str:
    node = asked.user.node_name
    if asked.name != node:
        return f'node "{node}" is not allowed to modify node "{asked.name}"'
    match asked.new, asked.old:
        case Node() as new, None:
            return _new_node(new, node)
        case Node() as new, Node() as old:
            return _changed_node(new, old, node)
    return ""


def _new_node(new: Node, node: str) -> str:
    if new.spec.config_source:
        return f'node "{node}" is not allowed to create pods with a non-nil configSource'  # sic
    if labels := _forbidden_labels(new.metadata.labels, {}):
        return f'node "{node}" is not allowed to set the following labels: {labels}'
    # Stricter than upstream: the node IPAM controller alone gives out ranges, and a Node that
    # depends on another object could have itself collected and come back with other taints.
    if new.spec.pod_cidr or new.spec.pod_cidrs:
        return f'node "{node}" is not allowed to set podCIDRs'
    if new.metadata.owner_references:
        return f'node "{node}" is not allowed to set ownerReferences'
    return ""


def _changed_node(new: Node, old: Node, node: str) -> str:
    not_allowed = f'node "{node}" is not allowed to'
    # An old kubelet may drop the field when it writes its status.
    if new.spec.config_source and new.spec.config_source != old.spec.config_source:
        return f"{not_allowed} update configSource to a new non-nil configSource"
    if new.spec.taints != old.spec.taints:
        return f"{not_allowed} modify taints"
    if new.metadata.owner_references != old.metadata.owner_references:
        return f"{not_allowed} modify ownerReferences"
    if labels := _forbidden_labels(new.metadata.labels, old.metadata.labels):
        return f"is not allowed to modify labels: {labels}"
    # Stricter than upstream, where a kubelet may fill in an empty range itself.
    ranges = (new.spec.pod_cidr, new.spec.pod_cidrs)
    if ranges != (old.spec.pod_cidr, old.spec.pod_cidrs):
        return f"{not_allowed} modify podCIDRs"
    return ""


def _forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> str:
    """The labels that differ and that no kubelet may touch, for a message."""
    changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key)}
    return ", ".join(sorted(key for key in changed if not is_kubelets(key)))


def _lease(asked: Attributes) -> str:
    if asked.namespace != NODE_LEASES:
        return f'can only access leases in the "{NODE_LEASES}" system namespace'
    return "" if asked.name == asked.user.node_name else _SAME_NAME


PLUGIN = Plugin(name="NodeRestriction", admit=admit)
