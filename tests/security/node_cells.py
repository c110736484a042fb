"""The matrix of what a kubelet's certificate may do: Node authorizer and NodeRestriction.

A cell is one request of a node (w1 unless it says another) and the verdict of upstream's rules on
it, as of 1.34 (AuthorizeNodeWithSelectors); `stricter` marks the few cells where Muster refuses
what upstream lets pass. Writes are dry runs, which go through both, so that cells do not meet.
The test asks each of a real api-server, the table of docs/security.md shows the answers.

The world: nodes w1 and w2, w3 not yet registered. Pods in `default`: `bound` to w1, `other` to w2,
`unbound`, `mirror` (w1's, annotated as a mirror pod); in `far`: `away`, bound to w1. Each refers
to a Secret and a ConfigMap of its own name; `plain` is referred to by none, and there is another
`away` in `default`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.component.apiserver_harness import pod

Json = dict[str, Any]
Change = Callable[[Json], None]
MIRROR = {"kubernetes.io/config.mirror": "x"}
WRITES = ("update", "json", "merge", "strategic", "apply")


@dataclass(frozen=True)
class Cell:
    """`sub` is the subresource. Of writes, `body` is what is created, `change` edits the stored
    object; `fields` is the field selector of a read."""

    verb: str
    resource: str
    whose: str
    allowed: bool
    text: str = ""  # in the refusal, or in the answer's message
    code: int = 0  # if not 403 and 2xx
    namespace: str = "default"
    name: str = ""
    sub: str = ""
    group: str = ""
    fields: str = ""
    body: Json | None = None
    change: Change | None = None
    unchanged: tuple[str, ...] = ()  # paths that the answer has as before
    user: str = "system:node:w1"
    groups: tuple[str, ...] = ("system:nodes",)
    stricter: bool = False
    rest_only: bool = False

    @property
    def shown(self) -> str:
        return f"{self.resource}/{self.sub}" if self.sub else self.resource

    def __str__(self) -> str:
        return f"{self.verb} {self.shown}: {self.whose}"


def cells() -> list[Cell]:
    return [
        *_node_reads(),
        *_node_creates(),
        *_node_writes(),
        *_node_deletes(),
        *_pod_reads(),
        *_mirror_pods(),
        *_pod_writes(),
        *_pod_deletes(),
        *_mounted("secrets"),
        *_mounted("configmaps"),
        *_leases(),
        *_uniform(),
        *_reviews(),
        *_identities(),
    ]


# nodes


def _nodes(verb: str, whose: str, allowed: bool, text: str = "", **more: Any) -> Cell:
    return Cell(verb, "nodes", whose, allowed, text, namespace="", **more)


def _node_reads() -> Iterator[Cell]:
    other = "node 'w1' cannot read 'w2', only its own Node object"
    every = "node 'w1' cannot read all nodes, only its own Node object"
    yield _nodes("get", "own", True, name="w1")
    yield _nodes("get", "other", False, other, name="w2")
    yield _nodes("get", "not there", False, "only its own Node object", name="w9")
    yield _nodes("get", "own, status", False, name="w1", sub="status", rest_only=True)
    yield _nodes("get", "own, not yet registered", True, name="w3", user="system:node:w3", code=404)
    for verb in ("list", "watch"):
        yield _nodes(verb, "all", False, every)
        yield _nodes(verb, "own by name", True, fields="metadata.name=w1")
        yield _nodes(verb, "other by name", False, other, fields="metadata.name=w2")
        yield _nodes(verb, "all but one", False, every, fields="metadata.name!=w2")
        yield _nodes(verb, "by another field", False, every, fields="spec.unschedulable=true")


def node(name: str, **spec: Any) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def _labelled(name: str, *labels: str) -> Json:
    made = node(name)
    made["metadata"]["labels"] = dict.fromkeys(labels, "x")
    return made


_OWNED = {
    "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "plain", "uid": "u"},
    ]
}
_TAINT = {"key": "mine", "value": "x", "effect": "NoSchedule"}
_SOURCE = {"configMap": {"name": "c", "namespace": "n", "uid": "u", "kubeletConfigKey": "k"}}
FORBIDDEN_LABELS = (
    "node-restriction.kubernetes.io/fips",
    "a.node-restriction.kubernetes.io/fips",
    "node-role.kubernetes.io/control-plane",
    "kubernetes.io/team",
    "example.k8s.io/team",
)
ALLOWED_LABELS = (
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "beta.kubernetes.io/os",
    "node.kubernetes.io/anything",
    "x.kubelet.kubernetes.io/anything",
    "example.com/team",
    "team",
)


def _node_creates() -> Iterator[Cell]:
    fresh: Json = {"name": "w3", "user": "system:node:w3"}
    denied = 'node "w3" is not allowed to'
    yield _nodes("create", "own", True, body=node("w3"), **fresh)
    yield _nodes(
        "create", "other", False, 'node "w1" is not allowed to modify node "w4"', body=node("w4")
    )
    generated: Json = {"apiVersion": "v1", "kind": "Node", "metadata": {"generateName": "w"}}
    yield _nodes(
        "create", "with a generated name", False, 'is not allowed to modify node ""', body=generated
    )
    yield _nodes("create", "own, there already", True, code=409, body=node("w1"))
    yield _nodes("create", "own, with taints", True, body=node("w3", taints=[_TAINT]), **fresh)
    for label in ALLOWED_LABELS:
        yield _nodes("create", f"own, label {label}", True, body=_labelled("w3", label), **fresh)
    for label in FORBIDDEN_LABELS:
        text = f"{denied} set the following labels: {label}"
        body = _labelled("w3", label)
        yield _nodes("create", f"own, label {label}", False, text, body=body, **fresh)
    body = node("w3", configSource=_SOURCE)
    yield _nodes(
        "create",
        "own, with configSource",
        False,
        f"{denied} create pods with a non-nil configSource",
        body=body,
        **fresh,
    )
    body = node("w3", podCIDR="10.9.0.0/24", podCIDRs=["10.9.0.0/24"])
    yield _nodes(
        "create",
        "own, with a podCIDR",
        False,
        f"{denied} set podCIDRs",
        body=body,
        stricter=True,
        **fresh,
    )
    body = node("w3")
    body["metadata"] |= _OWNED
    yield _nodes(
        "create",
        "own, with an owner",
        False,
        f"{denied} set ownerReferences",
        body=body,
        stricter=True,
        **fresh,
    )


def _set(path: str, value: Any) -> Change:
    """Set (None: remove) what a dotted path names; a label's key may itself have dots: use `|`."""

    def change(obj: Json) -> None:
        *parents, last = path.split("|") if "|" in path else path.split(".")
        for key in parents:
            obj = obj.setdefault(key, {})
        if value is None:
            obj.pop(last, None)
        else:
            obj[last] = value

    return change


def _node_writes() -> Iterator[Cell]:
    denied = 'node "w1" is not allowed to'
    allowed = {
        "a label": _set("metadata|labels|example.com/team", "x"),
        "the zone": _set("metadata|labels|topology.kubernetes.io/zone", "z9"),
        "an annotation": _set("metadata|annotations|example.com/a", "x"),
        "unschedulable": _set("spec.unschedulable", True),
        "its first providerID": _set("spec.providerID", "lab://w1"),
    }
    role = "node-role.kubernetes.io/worker"
    refused = {
        "a restricted label": (
            _set("metadata|labels|node-restriction.kubernetes.io/fips", "no"),
            "is not allowed to modify labels: node-restriction.kubernetes.io/fips",
        ),
        "a role": (
            _set(f"metadata|labels|{role}", "x"),
            f"is not allowed to modify labels: {role}",
        ),
        "its taints": (_set("spec.taints", [_TAINT]), f"{denied} modify taints"),
        "its owners": (
            _set("metadata.ownerReferences", _OWNED["ownerReferences"]),
            f"{denied} modify ownerReferences",
        ),
        "configSource": (
            _set("spec.configSource", _SOURCE),
            f"{denied} update configSource to a new non-nil configSource",
        ),
    }
    for verb in WRITES:
        for what, change in allowed.items():
            yield _nodes(verb, f"own, {what}", True, name="w1", change=change)
        for what, (change, text) in refused.items():
            yield _nodes(verb, f"own, {what}", False, text, name="w1", change=change)
            yield _nodes(verb, f"own, {what}", False, text, name="w1", change=change, sub="status")
        yield _nodes(
            verb,
            "own, its podCIDR",
            False,
            f"{denied} modify podCIDRs",
            name="w1",
            change=_set("spec.podCIDR", "10.9.0.0/24"),
            stricter=True,
        )
        text = f'{denied} modify node "w2"'
        yield _nodes(verb, "other", False, text, name="w2", change=allowed["a label"])
        yield _nodes(
            verb, "other", False, text, name="w2", sub="status", change=_set("status.phase", "x")
        )
        yield _nodes(verb, "own", True, name="w1", change=_set("status.phase", "x"), sub="status")
    for verb in WRITES:
        yield _nodes(
            verb,
            "own, another providerID",
            False,
            "node updates may not change providerID",
            code=422,
            name="w2",
            user="system:node:w2",
            change=_set("spec.providerID", "lab://w1"),
        )
    yield _nodes(
        "update",
        "own, a restricted label removed",
        False,
        "is not allowed to modify",
        name="w2",
        user="system:node:w2",
        change=_set("metadata|labels|node-restriction.kubernetes.io/fips", None),
    )
    yield _nodes(
        "update",
        "own, its taint removed",
        False,
        "is not allowed to modify taints",
        name="w2",
        user="system:node:w2",
        change=_set("spec.taints", None),
    )
    yield _nodes(
        "update",
        "own, spec by way of the status",
        True,
        name="w1",
        sub="status",
        change=_set("spec.unschedulable", True),
        unchanged=("spec",),
    )
    yield _nodes(
        "apply",
        "other, not there",
        False,
        'is not allowed to modify node "w9"',
        name="w9",
        body=node("w9"),
    )


def _node_deletes() -> Iterator[Cell]:
    text = 'cannot delete resource "nodes"'
    yield _nodes("delete", "own", False, text, name="w1")
    yield _nodes("delete", "other", False, text, name="w2")
    yield _nodes(
        "deletecollection", "all", False, 'cannot deletecollection resource "nodes"', rest_only=True
    )
    yield _nodes(
        "deletecollection",
        "own by name",
        False,
        'cannot deletecollection resource "nodes"',
        fields="metadata.name=w1",
        rest_only=True,
    )


# pods


def _pods(verb: str, whose: str, allowed: bool, text: str = "", **more: Any) -> Cell:
    return Cell(verb, "pods", whose, allowed, text, **more)


UNRELATED = "no relationship found between node 'w1' and this object"


def _pod_reads() -> Iterator[Cell]:
    for name, allowed in (("bound", True), ("other", False), ("unbound", False), ("x", False)):
        yield _pods("get", name, allowed, "" if allowed else UNRELATED, name=name)
    yield _pods("get", "bound, elsewhere", True, namespace="far", name="away")
    scoped = "can only list/watch pods with spec.nodeName field selector"
    for verb in ("list", "watch"):
        for namespace, where in (("", "everywhere"), ("default", "in a namespace")):
            at: Json = {"namespace": namespace}
            yield _pods(verb, f"all {where}", False, scoped, **at)
            yield _pods(verb, f"bound {where}", True, fields="spec.nodeName=w1", **at)
            yield _pods(verb, f"other's {where}", False, scoped, fields="spec.nodeName=w2", **at)
            yield _pods(verb, f"unbound {where}", False, scoped, fields="spec.nodeName=", **at)
            yield _pods(verb, f"not own {where}", False, scoped, fields="spec.nodeName!=w2", **at)
        yield _pods(verb, "bound by name", True, fields="metadata.name=bound")
        yield _pods(verb, "other by name", False, UNRELATED, fields="metadata.name=other")
        yield _pods(
            verb,
            "bound by name, everywhere",
            False,
            UNRELATED,
            namespace="",
            fields="metadata.name=bound",
        )
    for sub, verb in (("log", "get"), ("exec", "create"), ("attach", "create")):
        yield _pods(
            verb,
            "bound",
            False,
            f'resource "pods/{sub}"',
            name="bound",
            sub=sub,
            rest_only=True,
            body={} if verb == "create" else None,
        )


def mirror(uid: str, **spec: Any) -> Json:
    """The mirror pod of w1 that a kubelet makes."""
    made = pod("static", nodeName="w1", **spec)
    owner = {"apiVersion": "v1", "kind": "Node", "name": "w1", "uid": uid, "controller": True}
    made["metadata"] |= {"annotations": dict(MIRROR), "ownerReferences": [owner]}
    return made


def _owner(**changes: Any) -> Change:
    return lambda made: made["metadata"]["ownerReferences"][0].update(changes)


def _env(value: Json) -> Json:
    return {"containers": [{"name": "c", "image": "i", "env": [{"name": "E", "valueFrom": value}]}]}


def _volume(**source: Any) -> Json:
    return {"volumes": [{"name": "v", **source}]}


def _mirror_pods() -> Iterator[Cell]:
    """UID stands for w1's; who asks puts it in."""
    can = 'node "w1" can only create pods with'
    own = f"{can} an owner reference set to itself"

    def made(whose: str, change: Change, text: str, **more: Any) -> Cell:
        body = mirror("UID")
        change(body)
        return _pods("create", whose, False, text, body=body, **more)

    yield _pods("create", "mirror of its own", True, body=mirror("UID"))
    yield made(
        "no mirror pod",
        _set("metadata.annotations", {}),
        'pod does not have "kubernetes.io/config.mirror" annotation, node "w1" can only '
        "create mirror pods",
    )
    yield made("other's", _set("spec.nodeName", "w2"), f"{can} spec.nodeName set to itself")
    yield made("unbound", _set("spec.nodeName", None), f"{can} spec.nodeName set to itself")
    yield made("no owner", _set("metadata.ownerReferences", None), own)
    second = _set(
        "metadata.ownerReferences",
        [{"apiVersion": "v1", "kind": "Node", "name": n, "uid": "UID"} for n in ("w1", "w2")],
    )
    yield made("two owners", second, f"{can} a single owner reference set to itself")
    yield made("owner: other node", _owner(name="w2"), own)
    yield made("owner: other kind", _owner(kind="Pod"), own)
    yield made(
        "owner: no controller",
        _owner(controller=False),
        f"{can} a controller owner reference set to itself",
    )
    yield made(
        "owner: blocks deletion",
        _owner(blockOwnerDeletion=True),
        'node "w1" must not set blockOwnerDeletion on an owner reference',
    )
    yield made("owner: other UID", _owner(uid="stale"), "node w1 UID mismatch: expected stale got")
    fresh = mirror("UID")
    fresh["spec"]["nodeName"] = "w3"
    fresh["metadata"]["ownerReferences"][0]["name"] = "w3"
    yield _pods(
        "create",
        "owner: not registered",
        False,
        'nodes "w3" not found',
        code=404,
        body=fresh,
        user="system:node:w3",
    )
    yield from _mirror_references()


def _mirror_references() -> Iterator[Cell]:
    cannot = 'node "w1" can not create pods that reference'
    secrets, maps = "a mirror pod may not reference secrets", f"{cannot} configmaps"
    named = {"name": "plain", "key": "k"}
    projected = {"projected": {"sources": [{"secret": {"name": "plain"}}]}}
    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    bundle = {"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "p"}}]}}
    init = [{"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "plain"}}]}]
    for what, text, spec in (
        (
            "a service account",
            "a mirror pod may not reference service accounts",
            {"serviceAccountName": "default"},
        ),
        ("a Secret volume", secrets, _volume(secret={"secretName": "plain"})),
        ("a Secret in the environment", secrets, _env({"secretKeyRef": named})),
        ("a Secret of an init container", secrets, {"initContainers": init}),
        ("a pull Secret", secrets, {"imagePullSecrets": [{"name": "plain"}]}),
        ("a projected Secret", secrets, _volume(**projected)),
        ("a ConfigMap volume", maps, _volume(configMap={"name": "plain"})),
        ("a ConfigMap in the environment", maps, _env({"configMapKeyRef": named})),
        (
            "a token",
            "a mirror pod may not use ServiceAccountToken volume projections",
            _volume(**token),
        ),
        ("a trust bundle", f"{cannot} clustertrustbundles", _volume(**bundle)),
        (
            "a volume claim",
            f"{cannot} persistentvolumeclaims",
            _volume(persistentVolumeClaim={"claimName": "c"}),
        ),
        (
            "a resource claim",
            f"{cannot} resourceclaims",
            {"resourceClaims": [{"name": "r", "resourceClaimName": "c"}]},
        ),
    ):
        yield _pods("create", f"mirror with {what}", False, text, body=mirror("UID", **spec))


def _pod_writes() -> Iterator[Cell]:
    label = _set("metadata.labels", {"app": "hello"})
    for verb in WRITES:
        asked = "update" if verb == "update" else "patch"
        yield _pods(
            verb, "bound", False, f'cannot {asked} resource "pods"', name="bound", change=label
        )
        may: Json = {"sub": "status", "name": "bound"}
        yield _pods(verb, "bound", True, change=_set("status.message", "hi"), **may)
        text = 'node "w1" cannot update labels through pod status'
        yield _pods(verb, "bound, labels", False, text, change=label, **may)
        text = 'node "w1" cannot update annotations through pod status'
        yield _pods(
            verb,
            "bound, annotations",
            False,
            text,
            stricter=True,
            change=_set("metadata.annotations", {"a": "b"}),
            **may,
        )
        yield _pods(
            verb,
            "bound, finalizers",
            False,
            "cannot update finalizers",
            stricter=True,
            change=_set("metadata.finalizers", ["example.com/x"]),
            **may,
        )
        yield _pods(
            verb,
            "bound, spec and owners stay",
            True,
            unchanged=("spec", "metadata.ownerReferences"),
            change=_both,
            **may,
        )
        text = "can only update pod status for pods with spec.nodeName set to itself"
        for name in ("other", "unbound"):
            yield _pods(
                verb,
                name,
                False,
                text,
                change=_set("status.message", "hi"),
                sub="status",
                name=name,
            )


def _both(obj: Json) -> None:
    obj.setdefault("spec", {})["priority"] = 7
    obj.setdefault("metadata", {})["ownerReferences"] = _OWNED["ownerReferences"]


def _pod_deletes() -> Iterator[Cell]:
    gone = {"apiVersion": "policy/v1", "kind": "Eviction"}
    for name, allowed in (("bound", True), ("other", False), ("unbound", False)):
        text = "can only delete pods with spec.nodeName set to itself"
        yield _pods("delete", name, allowed, "" if allowed else text, name=name)
        text = "node w1 can only evict pods with spec.nodeName set to itself"
        eviction = gone | {"metadata": {"name": name}, "deleteOptions": {"dryRun": ["All"]}}
        yield _pods(
            "create",
            name,
            allowed,
            "" if allowed else text,
            name=name,
            sub="eviction",
            body=eviction,
        )
        bind = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"kind": "Node", "name": "w1"},
        }
        yield _pods(
            "create",
            name,
            False,
            'cannot create resource "pods/binding"',
            name=name,
            sub="binding",
            body=bind,
        )
    yield _pods("delete", "not there", True, code=404, name="x")
    yield _pods(
        "deletecollection",
        "bound",
        False,
        'cannot deletecollection resource "pods"',
        fields="spec.nodeName=w1",
        rest_only=True,
    )


# what pods refer to


def _mounted(plural: str) -> Iterator[Cell]:
    def one(verb: str, whose: str, allowed: bool, text: str = "", **more: Any) -> Cell:
        return Cell(verb, plural, whose, allowed, text, **more)

    owned = (
        ("bound", True),
        ("other", False),
        ("unbound", False),
        ("mirror", False),
        ("plain", False),
        ("away", False),
    )
    for name, allowed in owned:
        whose = {"plain": "nobody", "away": "bound, in another namespace"}.get(name, name)
        text = "" if allowed else UNRELATED
        yield one("get", f"of {whose}", allowed, text, name=name)
        for verb in ("list", "watch"):
            yield one(verb, f"of {whose} by name", allowed, text, fields=f"metadata.name={name}")
    yield one("get", "of bound, elsewhere", True, namespace="far", name="away")
    nameless, wide = "No Object name found", "can only read namespaced object of this type"
    for verb in ("list", "watch"):
        yield one(verb, "all of a namespace", False, nameless)
        yield one(verb, "all", False, wide, namespace="")
        yield one(
            verb,
            "of bound by name, everywhere",
            False,
            wide,
            namespace="",
            fields="metadata.name=bound",
        )
        yield one(verb, "all but one", False, nameless, fields="metadata.name!=x")
    kind = "Secret" if plural == "secrets" else "ConfigMap"
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "new", "namespace": "default"}}
    only = "can only read resources of this type"
    yield one("create", "new", False, only, body=body)
    for verb in WRITES:
        yield one(
            verb, "of bound", False, only, name="bound", change=_set("metadata.labels", {"a": "b"})
        )
    yield one("delete", "of bound", False, only, name="bound")
    yield one("deletecollection", "all", False, only, rest_only=True)


# the rest


def lease(name: str, namespace: str = "kube-node-lease") -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
    }


def _leases() -> Iterator[Cell]:
    def one(verb: str, whose: str, allowed: bool, text: str = "", **more: Any) -> Cell:
        at = {"namespace": "kube-node-lease", "group": "coordination.k8s.io", **more}
        return Cell(verb, "leases", whose, allowed, text, **at)

    same = "can only access node lease with the same name as the requesting node"
    there = 'can only access leases in the "kube-node-lease" system namespace'
    only = "can only get, create, update, patch, or delete a node lease"
    change = _set("spec.holderIdentity", "me")
    yield one("get", "own", True, name="w1")
    yield one("get", "other", False, same, name="w2")
    yield one("get", "of that name elsewhere", False, there, name="w1", namespace="kube-system")
    yield one("create", "own", True, body=lease("w3"), user="system:node:w3")
    yield one("create", "other", False, same, body=lease("w4"))
    yield one(
        "create", "own, elsewhere", False, there, body=lease("w1", "default"), namespace="default"
    )
    for verb in WRITES:
        yield one(verb, "own", True, name="w1", change=change)
        yield one(verb, "other", False, same, name="w2", change=change)
    yield one("delete", "own", True, name="w1")
    yield one("delete", "other", False, same, name="w2")
    for verb in ("list", "watch"):
        yield one(verb, "all", False, only)
        yield one(verb, "own by name", False, only, fields="metadata.name=w1")
    yield one("deletecollection", "all", False, only, rest_only=True)


def _uniform() -> Iterator[Cell]:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "type": "Normal",
        "reason": "R",
        "message": "m",
        "metadata": {"name": "e2", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "bound", "namespace": "default"},
    }
    change = _set("message", "x")
    yield Cell("create", "events", "any", True, body=event)
    for verb in WRITES:
        yield Cell(verb, "events", "any", True, name="e", change=change)
    for verb in ("get", "delete"):
        yield Cell(verb, "events", "any", False, f'cannot {verb} resource "events"', name="e")
    for verb in ("list", "watch"):
        yield Cell(verb, "events", "all", False, f'cannot {verb} resource "events"')
        yield Cell(verb, "services", "all", True, namespace="")
        yield Cell(verb, "endpoints", "all", False, f'cannot {verb} resource "endpoints"')
        yield Cell(verb, "namespaces", "all", False, namespace="")
        yield Cell(
            verb,
            "serviceaccounts",
            "all",
            False,
            "can only create tokens for individual service accounts",
        )
        yield Cell(verb, "endpointslices", "all", False, group="discovery.k8s.io")
        yield Cell(verb, "deployments", "all", False, group="apps")
        yield Cell(verb, "replicasets", "all", False, group="apps")
    yield Cell("get", "services", "any", True, name="kubernetes")
    yield Cell("get", "endpoints", "any", True, name="kubernetes")
    yield Cell("get", "namespaces", "any", False, namespace="", name="default")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "spec": {"ports": [{"port": 1}]},
        "metadata": {"name": "s", "namespace": "default"},
    }
    yield Cell("create", "services", "any", False, body=service)
    yield Cell("merge", "services", "any", False, name="kubernetes", change=change)
    yield Cell("delete", "services", "any", False, name="kubernetes")
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "s", "namespace": "default"},
    }
    yield Cell("create", "serviceaccounts", "any", False, body=account)
    spaces = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    yield Cell("create", "namespaces", "any", False, namespace="", body=spaces)


def _reviews() -> Iterator[Cell]:
    asked: Json = {"spec": {"user": "x", "nonResourceAttributes": {"verb": "get", "path": "/"}}}
    local: Json = {"spec": {"user": "x", "resourceAttributes": {"namespace": "default"}}}
    at: Json = {"group": "authorization.k8s.io"}
    yield Cell("create", "subjectaccessreviews", "any", True, namespace="", body=asked, **at)
    yield Cell("create", "localsubjectaccessreviews", "any", True, body=local, **at)
    yield Cell("create", "selfsubjectaccessreviews", "own", True, namespace="", body=asked, **at)


def _identities() -> Iterator[Cell]:
    """Half a node's identity is none."""
    who: tuple[tuple[str, Json], ...] = (
        ("a node's name without the group", {"groups": ()}),
        ("the group without a node's name", {"user": "somebody"}),
        ("a node without a name", {"user": "system:node:"}),
    )
    for whose, user in who:
        yield _nodes("get", whose, False, name="w1", **user)
        yield _pods("get", whose, False, name="bound", **user)
        yield _pods("delete", whose, False, name="bound", **user)
        yield _nodes("create", whose, False, body=node("w3"), **user)
        yield Cell("get", "secrets", whose, False, name="bound", **user)
