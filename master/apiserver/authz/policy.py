"""The roles and bindings that every cluster begins with, as objects. Pure.

Upstream's (plugin/pkg/auth/authorizer/rbac/bootstrappolicy) but for those of its controllers, which
have a service account each; and, under `muster:`, what our components ask for beside them. At each
start `bootstrap.py` puts back what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from kube.api.meta import LabelSelector, ObjectMeta
from kube.api.rbac import (
    AggregationRule,
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)

GROUP = "rbac.authorization.k8s.io"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_META = {AUTOUPDATE: "true"}
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = f"{GROUP}/aggregate-to-"
# A role's name, and whom it adds to; then its rules: verbs, groups (`core` has no name), resources
# and names; or verbs and paths. READ, WRITE and ALL stand for verbs.
_VERBS = {
    "READ": "get,list,watch",
    "WRITE": "create,delete,deletecollection,patch,update",
    "ALL": "create,delete,deletecollection,get,list,patch,update,watch",
}
_CLUSTER_ROLES = """
cluster-admin
  * * *
  * *
system:aggregate-to-admin +admin
  create authorization.k8s.io localsubjectaccessreviews
  ALL rbac.authorization.k8s.io rolebindings,roles
system:aggregate-to-edit +edit
  READ core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
  impersonate core serviceaccounts
  WRITE core pods,pods/attach,pods/exec,pods/portforward,pods/proxy
  create core pods/eviction
  WRITE core configmaps,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale
  WRITE core events,secrets,serviceaccounts,services,services/proxy
  create core serviceaccounts/token
  WRITE apps daemonsets,deployments,deployments/rollback,deployments/scale
  WRITE apps replicasets,replicasets/scale,statefulsets,statefulsets/scale
  WRITE autoscaling horizontalpodautoscalers
  WRITE batch cronjobs,jobs
  WRITE policy poddisruptionbudgets
  WRITE networking.k8s.io ingresses,networkpolicies
  ALL coordination.k8s.io leases
system:aggregate-to-view +view
  READ core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods
  READ core replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services
  READ core services/status
  READ core bindings,events,limitranges,namespaces/status,pods/log,pods/status
  READ core replicationcontrollers/status,resourcequotas,resourcequotas/status
  READ core namespaces
  READ discovery.k8s.io endpointslices
  READ apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale
  READ apps deployments/status,replicasets,replicasets/scale,replicasets/status
  READ apps statefulsets,statefulsets/scale,statefulsets/status
  READ autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
  READ batch cronjobs,cronjobs/status,jobs,jobs/status
  READ policy poddisruptionbudgets,poddisruptionbudgets/status
  READ networking.k8s.io ingresses,ingresses/status,networkpolicies
system:auth-delegator
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
system:basic-user
  create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
  create authentication.k8s.io selfsubjectreviews
system:certificates.k8s.io:certificatesigningrequests:nodeclient
  create certificates.k8s.io certificatesigningrequests/nodeclient
system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
  create certificates.k8s.io certificatesigningrequests/selfnodeclient
system:certificates.k8s.io:kube-apiserver-client-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client
system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
  approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
system:certificates.k8s.io:kubelet-serving-approver
  approve certificates.k8s.io signers kubernetes.io/kubelet-serving
system:certificates.k8s.io:legacy-unknown-approver
  approve certificates.k8s.io signers kubernetes.io/legacy-unknown
system:discovery
  get /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/
system:heapster
  READ core events,namespaces,nodes,pods
  READ extensions deployments
system:kube-aggregator
  READ core endpoints,services
system:kube-controller-manager
  create,patch,update core,events.k8s.io events
  create coordination.k8s.io leases
  get,update coordination.k8s.io leases kube-controller-manager
  create core secrets,serviceaccounts
  delete core secrets
  get core configmaps,namespaces,secrets,serviceaccounts
  update core secrets,serviceaccounts
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  list,watch * *
  create core serviceaccounts/token
system:kube-dns
  list,watch core endpoints,services
  list,watch discovery.k8s.io endpointslices
system:kube-scheduler
  create,patch,update core,events.k8s.io events
  create coordination.k8s.io leases
  get,update coordination.k8s.io leases kube-scheduler
  READ core nodes
  delete,get,list,watch core pods
  create core bindings,pods/binding
  patch,update core pods/status
  READ core replicationcontrollers,services
  READ apps,extensions replicasets
  READ apps statefulsets
  READ policy poddisruptionbudgets
  READ core persistentvolumeclaims,persistentvolumes
  create authentication.k8s.io tokenreviews
  create authorization.k8s.io subjectaccessreviews
  READ storage.k8s.io csinodes
  READ core namespaces
  READ storage.k8s.io csidrivers,csistoragecapacities
system:kubelet-api-admin
  READ core nodes
  proxy core nodes
  * core nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats
system:monitoring
  get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*
system:node-bootstrapper
  create,get,list,watch certificates.k8s.io certificatesigningrequests
system:node-problem-detector
  get core nodes
  patch core nodes/status
  create,patch,update core,events.k8s.io events
system:node-proxier
  list,watch core endpoints,services
  READ core nodes
  create,patch,update core,events.k8s.io events
  list,watch discovery.k8s.io endpointslices
  list,watch networking.k8s.io servicecidrs
system:persistent-volume-provisioner
  create,delete,get,list,watch core persistentvolumes
  get,list,update,watch core persistentvolumeclaims
  READ storage.k8s.io storageclasses
  watch core events
  create,patch,update core,events.k8s.io events
system:public-info-viewer
  get /healthz,/livez,/readyz,/version,/version/
system:service-account-issuer-discovery
  get /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks
system:volume-scheduler
  get,list,patch,update,watch core persistentvolumes
  READ storage.k8s.io storageclasses
  get,list,patch,update,watch core persistentvolumeclaims
muster:controllers
  READ,WRITE * *
  bind,escalate rbac.authorization.k8s.io clusterroles,roles
muster:node-metrics
  get core nodes/healthz,nodes/metrics,nodes/stats
muster:kubelet-checkpoint
  * core nodes/checkpoint
muster:state-metrics
  list,watch core configmaps,endpoints,limitranges,namespaces,nodes,persistentvolumeclaims
  list,watch core persistentvolumes,pods,replicationcontrollers,resourcequotas,serviceaccounts
  list,watch core services
  list,watch apps daemonsets,deployments,replicasets,statefulsets
  list,watch autoscaling horizontalpodautoscalers
  list,watch batch cronjobs,jobs
  list,watch coordination.k8s.io leases
  list,watch discovery.k8s.io endpointslices
  list,watch policy poddisruptionbudgets
"""
# Whose rules are those of all roles that add to it.
_AGGREGATED = ("admin", "edit", "view")
_ADDS = {"edit": "admin", "view": "edit"}
# A binding and its role are called the same unless the role follows a slash.
_CLUSTER_BINDINGS = """
cluster-admin Group:system:masters
kubeadm:cluster-admins/cluster-admin Group:kubeadm:cluster-admins
system:basic-user Group:system:authenticated
system:discovery Group:system:authenticated
system:kube-controller-manager User:system:kube-controller-manager
system:kube-dns ServiceAccount:kube-system:kube-dns
system:kube-scheduler User:system:kube-scheduler
system:monitoring Group:system:monitoring
system:node-proxier User:system:kube-proxy
system:public-info-viewer Group:system:authenticated Group:system:unauthenticated
system:service-account-issuer-discovery Group:system:serviceaccounts
system:volume-scheduler User:system:kube-scheduler
muster:components/system:auth-delegator Group:system:muster:component User:system:kube-proxy Group:system:node-proxier User:system:muster:state-metrics
muster:controllers User:system:kube-controller-manager
muster:kubelet-api/system:kubelet-api-admin User:kube-apiserver-kubelet-client
muster:kubelet-checkpoint User:kube-apiserver-kubelet-client
muster:network/system:node-proxier Group:system:node-proxier
muster:node-metrics Group:system:monitoring
muster:state-metrics User:system:muster:state-metrics
"""  # noqa: E501 - a line a binding
# As above, each in a namespace.
_ROLES = """
kube-system extension-apiserver-authentication-reader
  READ core configmaps extension-apiserver-authentication
kube-system system::leader-locking-kube-controller-manager
  create coordination.k8s.io leases
  get,list,patch,update,watch coordination.k8s.io leases kube-controller-manager
kube-system system::leader-locking-kube-scheduler
  create coordination.k8s.io leases
  get,list,patch,update,watch coordination.k8s.io leases kube-scheduler
kube-system muster:leader-locking-kube-state-metrics
  create coordination.k8s.io leases
  get,list,patch,update,watch coordination.k8s.io leases kube-state-metrics
"""
_BINDINGS = """
kube-system system::extension-apiserver-authentication-reader/extension-apiserver-authentication-reader User:system:kube-controller-manager User:system:kube-scheduler
kube-system system::leader-locking-kube-controller-manager User:system:kube-controller-manager
kube-system system::leader-locking-kube-scheduler User:system:kube-scheduler
kube-system muster:leader-locking-kube-state-metrics User:system:muster:state-metrics
"""  # noqa: E501 - a line a binding
Policy = ClusterRole | ClusterRoleBinding | Role | RoleBinding


def bootstrap_policy() -> tuple[Policy, ...]:
    """Everything, roles before what refers to them."""
    return (*_cluster_roles(), *_cluster_bindings(), *_roles(), *_bindings())


def _meta(name: str, namespace: str = "", **labels: str) -> ObjectMeta:
    return ObjectMeta(
        name=name, namespace=namespace, annotations=dict(_META), labels={**_LABELS, **labels}
    )


def _rule(line: str) -> PolicyRule:
    verbs_text, *more = line.split()
    verbs = tuple(",".join(_VERBS.get(v, v) for v in verbs_text.split(",")).split(","))
    if len(more) == 1:
        return PolicyRule(verbs=verbs, non_resource_urls=tuple(more[0].split(",")))
    groups = tuple("" if group == "core" else group for group in more[0].split(","))
    names = tuple(more[2].split(",")) if len(more) > 2 else ()
    resources = tuple(more[1].split(","))
    return PolicyRule(verbs=verbs, api_groups=groups, resources=resources, resource_names=names)


def _blocks(text: str) -> Iterator[tuple[str, tuple[PolicyRule, ...]]]:
    """Each head line with its rules."""
    head, rules = "", list[PolicyRule]()
    for line in text.strip().splitlines():
        if line.startswith(" "):
            rules.append(_rule(line))
            continue
        if head:
            yield head, tuple(rules)
        head, rules = line, []
    yield head, tuple(rules)


def _cluster_roles() -> Iterator[ClusterRole]:
    gathered: dict[str, tuple[PolicyRule, ...]] = dict.fromkeys(_AGGREGATED, ())
    for head, rules in _blocks(_CLUSTER_ROLES):
        name, _, to = head.partition(" +")
        labels = {f"{_AGGREGATE}{to}": "true"} if to else {}
        if to:
            gathered[to] = rules
        yield ClusterRole(metadata=_meta(name, **labels), rules=rules)
    # A controller keeps their rules; these hold until it runs.
    gathered["edit"] += gathered["view"]
    gathered["admin"] = gathered["edit"] + gathered["admin"]
    for name, rules in gathered.items():
        adds = {f"{_AGGREGATE}{_ADDS[name]}": "true"} if name in _ADDS else {}
        selector = LabelSelector(match_labels={f"{_AGGREGATE}{name}": "true"})
        rule = AggregationRule(cluster_role_selectors=(selector,))
        yield ClusterRole(metadata=_meta(name, **adds), rules=rules, aggregation_rule=rule)


def _subject(text: str) -> Subject:
    kind, _, name = text.partition(":")
    if kind != "ServiceAccount":
        return Subject(kind=kind, api_group=GROUP, name=name)
    namespace, _, name = name.partition(":")
    return Subject(kind=kind, name=name, namespace=namespace)


def _bound(line: str) -> tuple[str, str, tuple[Subject, ...]]:
    head, *subjects = line.split()
    name, _, role = head.partition("/")
    return name, role or name, tuple(_subject(subject) for subject in subjects)


def _cluster_bindings() -> Iterator[ClusterRoleBinding]:
    for line in _CLUSTER_BINDINGS.strip().splitlines():
        name, role, subjects = _bound(line)
        ref = RoleRef(api_group=GROUP, kind="ClusterRole", name=role)
        yield ClusterRoleBinding(metadata=_meta(name), role_ref=ref, subjects=subjects)


def _roles() -> Iterator[Role]:
    for head, rules in _blocks(_ROLES):
        namespace, name = head.split()
        yield Role(metadata=_meta(name, namespace), rules=rules)


def _bindings() -> Iterator[RoleBinding]:
    for line in _BINDINGS.strip().splitlines():
        namespace, _, rest = line.partition(" ")
        name, role, subjects = _bound(rest)
        ref = RoleRef(api_group=GROUP, kind="Role", name=role)
        yield RoleBinding(metadata=_meta(name, namespace), role_ref=ref, subjects=subjects)


def reconciled(old: Policy, wanted: Policy) -> Policy:
    """What is stored, with what is missing of the wanted; what others added stays. An object whose
    annotation says so is left alone."""
    if old.metadata.annotations.get(AUTOUPDATE) == "false":
        return old
    meta = replace(
        old.metadata,
        labels={**old.metadata.labels, **wanted.metadata.labels},
        annotations={**wanted.metadata.annotations, **old.metadata.annotations},
    )
    new = replace(old, metadata=meta)
    if isinstance(new, ClusterRole) and isinstance(wanted, ClusterRole):
        if wanted.aggregation_rule is not None:
            # Its rules are the controller's.
            return replace(new, aggregation_rule=new.aggregation_rule or wanted.aggregation_rule)
        return replace(new, rules=_with(new.rules, wanted.rules))
    if isinstance(new, Role) and isinstance(wanted, Role):
        return replace(new, rules=_with(new.rules, wanted.rules))
    if isinstance(new, RoleBinding | ClusterRoleBinding):
        assert isinstance(wanted, RoleBinding | ClusterRoleBinding)
        missing = tuple(one for one in wanted.subjects if one not in new.subjects)
        return replace(new, subjects=(*new.subjects, *missing))
    return new


def _with(rules: tuple[PolicyRule, ...], wanted: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
    return (*rules, *(rule for rule in wanted if rule not in rules))
