"""What a kubelet may do: upstream's Node authorizer, with AuthorizeNodeWithSelectors.

It knows a request's verb, resource and name, but no object: what a kubelet may write into those
that it is let at is for the NodeRestriction admission (master/apiserver/admission). A node reads
itself, the pods bound to it, and exactly the Secrets and ConfigMaps that those refer to. Pure:
the pods come from the caller's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kube.api.core import Pod
from kube.api.rbac import PolicyRule
from master.apiserver.authz.references import references
from master.apiserver.authz.rules import READ, Attributes, allows

NODE_LEASES = "kube-node-lease"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


@dataclass(frozen=True, slots=True)
class Graph:
    """What the authorizer has to know of the cluster."""

    # The node to which the pod called namespace/name is bound; "" for none.
    node_of: Callable[[str, str], str]
    # The pods of a node in a namespace that may refer to an object of that name.
    pods_of: Callable[[str, str, str], Iterable[Pod]]


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` says why not; upstream shows it at the end of its text."""

    allowed: bool
    reason: str = ""


def _rule(verbs: tuple[str, ...], group: str, *resources: str) -> PolicyRule:
    return PolicyRule(verbs=verbs, api_groups=(group,), resources=resources)


ALLOW, NO_OPINION = Decision(True), Decision(False)

# Upstream's NodeRules, as far as the resource is served here and not decided by name below.
_UNIFORM = (
    _rule(("create",), "authentication.k8s.io", "tokenreviews"),
    _rule(("create",), "authorization.k8s.io", "subjectaccessreviews", "localsubjectaccessreviews"),
    _rule(READ, "", "services"),
    _rule(("create", "update", "patch"), "", "events"),
    _rule(("get",), "", "endpoints"),
)


def authorize_node(node: str, asked: Attributes, graph: Graph) -> Decision:
    """For the kubelet of `node` ("": a user of system:nodes that names none)."""
    if not node:
        return Decision(False, 'unknown node for user "system:node:"')
    if asked.path:
        return NO_OPINION
    match asked.group, asked.resource:
        case "", "secrets" | "configmaps":
            return _related_object(node, asked, graph)
        case "", "nodes":
            return _node(node, asked)
        case "", "pods":
            return _pod(node, asked, graph)
        case "", "serviceaccounts":
            return _no_token(asked)
        case "coordination.k8s.io", "leases":
            return _lease(node, asked)
    return Decision(any(allows(rule, asked) for rule in _UNIFORM))


def _unrelated(node: str) -> Decision:
    return Decision(False, f"no relationship found between node '{node}' and this object")


def _related_object(node: str, asked: Attributes, graph: Graph) -> Decision:
    if asked.verb not in READ:
        return Decision(False, "can only read resources of this type")
    if asked.subresource:
        return Decision(False, "cannot read subresource")
    if not asked.namespace:
        return Decision(False, "can only read namespaced object of this type")
    if not asked.name:
        return Decision(False, "No Object name found")
    for pod in graph.pods_of(node, asked.namespace, asked.name):
        # A node makes its mirror pods itself, so they can grant it nothing.
        if MIRROR_ANNOTATION in pod.metadata.annotations:
            continue
        if (asked.resource, asked.name) in references(pod):
            return ALLOW
    return _unrelated(node)


def _node(node: str, asked: Attributes) -> Decision:
    match asked.subresource, asked.verb:
        # Which node is written is for the admission: a create's name is in its body.
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return ALLOW
        case "", "get" | "list" | "watch":
            if asked.name == node:
                return ALLOW
            if not asked.name:
                reason = f"node '{node}' cannot read all nodes, only its own Node object"
            else:
                reason = f"node '{node}' cannot read '{asked.name}', only its own Node object"
            return Decision(False, reason)
    return NO_OPINION


def _pod(node: str, asked: Attributes, graph: Graph) -> Decision:
    match asked.subresource, asked.verb:
        case "", "list" | "watch" if ("spec.nodeName", node) in asked.pinned:
            return ALLOW
        case "", "list" | "watch" if not asked.name:
            return Decision(False, "can only list/watch pods with spec.nodeName field selector")
        case "", "get" | "list" | "watch":
            bound = bool(asked.name) and graph.node_of(asked.namespace, asked.name) == node
            return ALLOW if bound else _unrelated(node)
        # Mirror pods, and pods that have ended. Which ones is for the admission.
        case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
            return ALLOW
    return NO_OPINION


def _no_token(asked: Attributes) -> Decision:
    """Tokens are not served, so there is nothing of a service account that a node may have."""
    if asked.verb != "create" or not asked.name:
        return Decision(False, "can only create tokens for individual service accounts")
    return Decision(False, "can only create token subresource of serviceaccount")


def _lease(node: str, asked: Attributes) -> Decision:
    if asked.verb not in ("get", "create", "update", "patch", "delete"):
        return Decision(False, "can only get, create, update, patch, or delete a node lease")
    if asked.namespace != NODE_LEASES:
        return Decision(False, f'can only access leases in the "{NODE_LEASES}" system namespace')
    if asked.verb != "create" and asked.name != node:
        return Decision(
            False, "can only access node lease with the same name as the requesting node"
        )
    return ALLOW
