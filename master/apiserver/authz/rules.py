"""The built-in roles, as RBAC PolicyRules (plugin/pkg/auth/authorizer/rbac/bootstrappolicy).

Users' own Role and RoleBinding objects are not read yet; these tables have their shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from master.apiserver.authn.identity import AUTHENTICATED, MASTERS, UNAUTHENTICATED

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ALL = ("*",)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked: a verb on a resource, or on a path that is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # non-resource requests only
    # For list and watch: the (field, value) pairs that the field selector asks to be equal.
    pinned: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyRule:
    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ("",)
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    namespace: str = ""  # "" = cluster-wide, else as if bound by a RoleBinding there

    def allows(self, asked: Attributes) -> bool:
        if not _has(self.verbs, asked.verb):
            return False
        if asked.path:
            return any(_path_matches(path, asked.path) for path in self.paths)
        if self.namespace and asked.namespace != self.namespace:
            return False
        full = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return (
            _has(self.groups, asked.group)
            and (_has(self.resources, full) or f"*/{asked.subresource}" in self.resources)
            and (not self.names or asked.name in self.names)
        )


def _has(allowed: tuple[str, ...], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern


def _rule(verbs: tuple[str, ...], groups: str, *resources: str) -> PolicyRule:
    return PolicyRule(verbs, tuple(groups.split(",")), resources)


CLUSTER_ADMIN = (PolicyRule(ALL, ALL, ALL, paths=ALL),)
_EVENTS = PolicyRule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",))


def _leader_lock(name: str) -> tuple[PolicyRule, ...]:
    leases = ("coordination.k8s.io",)
    return (
        PolicyRule(("create",), leases, ("leases",), namespace="kube-system"),
        PolicyRule(
            ("get", "update", "patch", "list", "watch"),
            leases,
            ("leases",),
            names=(name,),
            namespace="kube-system",
        ),
    )


# For the components whose ports ask the api-server who may read them (system:auth-delegator).
AUTH_DELEGATOR = (
    PolicyRule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    PolicyRule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
)
SCHEDULER = (
    _EVENTS,
    *AUTH_DELEGATOR,
    *_leader_lock("kube-scheduler"),
    PolicyRule(READ, ("",), ("nodes", "namespaces", "services", "replicationcontrollers")),
    PolicyRule((*READ, "delete"), ("",), ("pods",)),
    PolicyRule(("create",), ("",), ("pods/binding", "bindings")),
    PolicyRule(("patch", "update"), ("",), ("pods/status",)),
    PolicyRule(READ, ("apps",), ("replicasets", "statefulsets")),
)
# Upstream runs each controller under its own service account; here all share one identity,
# and the garbage collector and the namespace controller need every kind.
CONTROLLER_MANAGER = (PolicyRule((*READ, *WRITE), ALL, ALL),)
NODE_PROXIER = (
    _EVENTS,
    *AUTH_DELEGATOR,
    PolicyRule(READ, ("",), ("nodes",)),
    PolicyRule(("list", "watch"), ("",), ("services", "endpoints")),
    PolicyRule(("list", "watch"), ("discovery.k8s.io",), ("endpointslices",)),
)
# kube-state-metrics' ClusterRole, without Secrets, for the kinds that it has series of.
STATE_METRICS = (
    *AUTH_DELEGATOR,
    *_leader_lock("kube-state-metrics"),
    _rule(
        ("list", "watch"), "", "configmaps", "endpoints", "limitranges", "namespaces", "nodes",
        "persistentvolumeclaims", "persistentvolumes", "pods", "replicationcontrollers",
        "resourcequotas", "serviceaccounts", "services",
    ),
    _rule(("list", "watch"), "apps", "daemonsets", "deployments", "replicasets", "statefulsets"),
    _rule(("list", "watch"), "autoscaling", "horizontalpodautoscalers"),
    _rule(("list", "watch"), "batch", "cronjobs", "jobs"),
    _rule(("list", "watch"), "coordination.k8s.io", "leases"),
    _rule(("list", "watch"), "discovery.k8s.io", "endpointslices"),
    _rule(("list", "watch"), "policy", "poddisruptionbudgets"),
)  # fmt: skip
MONITORING = (
    PolicyRule(
        ("get",),
        paths=("/metrics", "/metrics/slis", "/livez", "/livez/*", "/readyz", "/readyz/*",
               "/healthz", "/healthz/*"),
    ),
    # The kubelet asks for these where other components ask for a path.
    PolicyRule(("get",), ("",), ("nodes/metrics", "nodes/stats", "nodes/healthz")),
)  # fmt: skip
PUBLIC_INFO = (
    PolicyRule(("get",), paths=("/healthz", "/livez", "/readyz", "/version", "/version/")),
)
DISCOVERY = (
    PolicyRule(
        ("get",),
        paths=("/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/healthz",
               "/livez", "/readyz", "/version", "/version/"),
    ),
)  # fmt: skip
BASIC_USER = (
    PolicyRule(
        ("create",),
        ("authorization.k8s.io",),
        ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    ),
    PolicyRule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
)

# Upstream's system:kubelet-api-admin.
KUBELET_API_ADMIN = (
    PolicyRule(READ, ("",), ("nodes",)),
    _rule(ALL, "", "nodes/proxy", "nodes/log", "nodes/stats", "nodes/metrics", "nodes/healthz",
          "nodes/configz", "nodes/pods", "nodes/checkpoint"),
)  # fmt: skip

GROUP_RULES: dict[str, tuple[PolicyRule, ...]] = {
    MASTERS: CLUSTER_ADMIN,
    "kubeadm:cluster-admins": CLUSTER_ADMIN,
    "system:monitoring": MONITORING,
    # The network agent's group (`system:muster:network`); the proxy is bound by its user too.
    "system:node-proxier": NODE_PROXIER,
    # The certificates by which components serve; the runtime asks about its callers with it.
    "system:muster:component": AUTH_DELEGATOR,
    AUTHENTICATED: DISCOVERY + BASIC_USER + PUBLIC_INFO,
    UNAUTHENTICATED: PUBLIC_INFO,
}
USER_RULES: dict[str, tuple[PolicyRule, ...]] = {
    "kube-apiserver-kubelet-client": KUBELET_API_ADMIN,
    "system:kube-scheduler": SCHEDULER,
    "system:kube-controller-manager": CONTROLLER_MANAGER,
    "system:kube-proxy": NODE_PROXIER,
    "system:muster:state-metrics": STATE_METRICS,
}
