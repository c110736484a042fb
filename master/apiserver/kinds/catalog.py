"""The kinds that the server begins with: the one place that names a kind's file. Pure."""

from __future__ import annotations

from kube.machinery.scheme import ApiObject
from master.apiserver.kinds.admissionregistration import (
    policies,
    webhooks,
)
from master.apiserver.kinds.apiextensions import customresourcedefinition
from master.apiserver.kinds.apps import (
    controllerrevision,
    daemonset,
    deployment,
    replicaset,
    statefulset,
)
from master.apiserver.kinds.autoscaling import (
    horizontalpodautoscaler,
    v1,
)
from master.apiserver.kinds.batch import (
    cronjob,
    job,
)
from master.apiserver.kinds.certificates import (
    certificatesigningrequest,
)
from master.apiserver.kinds.coordination import lease
from master.apiserver.kinds.core import (
    configmap,
    endpoints,
    event,
    limitrange,
    namespace,
    node,
    persistentvolume,
    persistentvolumeclaim,
    pod,
    podtemplate,
    replicationcontroller,
    resourcequota,
    secret,
    service,
    serviceaccount,
)
from master.apiserver.kinds.discovery import endpointslice
from master.apiserver.kinds.events import event as events_event
from master.apiserver.kinds.flowcontrol import (
    flows,
)
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.networking import (
    addresses,
    ingress,
    ingressclass,
    networkpolicy,
)
from master.apiserver.kinds.node import (
    runtimeclass,
)
from master.apiserver.kinds.policy import (
    poddisruptionbudget,
)
from master.apiserver.kinds.rbac import (
    role,
    rolebinding,
)
from master.apiserver.kinds.scheduling import (
    priorityclass,
)
from master.apiserver.kinds.storage import (
    csi,
    storageclass,
    volumeattachment,
    volumeattributesclass,
)

KINDS: tuple[AnyKind, ...] = (
    customresourcedefinition.KIND,
    namespace.KIND,
    node.KIND,
    pod.KIND,
    service.KIND,
    endpoints.KIND,
    configmap.KIND,
    secret.KIND,
    serviceaccount.KIND,
    event.KIND,
    deployment.KIND,
    replicaset.KIND,
    lease.KIND,
    endpointslice.KIND,
    daemonset.KIND,
    statefulset.KIND,
    controllerrevision.KIND,
    job.KIND,
    cronjob.KIND,
    replicationcontroller.KIND,
    podtemplate.KIND,
    limitrange.KIND,
    resourcequota.KIND,
    persistentvolume.KIND,
    persistentvolumeclaim.KIND,
    role.KIND,
    rolebinding.KIND,
    role.CLUSTER_KIND,
    rolebinding.CLUSTER_KIND,
    ingress.KIND,
    ingressclass.KIND,
    networkpolicy.KIND,
    addresses.CIDR,
    addresses.ADDRESS,
    poddisruptionbudget.KIND,
    storageclass.KIND,
    volumeattachment.KIND,
    csi.DRIVER,
    csi.NODE,
    csi.CAPACITY,
    volumeattributesclass.KIND,
    priorityclass.KIND,
    runtimeclass.KIND,
    horizontalpodautoscaler.KIND,
    v1.KIND,
    events_event.KIND,
    webhooks.VALIDATING,
    webhooks.MUTATING,
    policies.POLICY,
    policies.BINDING,
    policies.MUTATING_POLICY,
    policies.MUTATING_BINDING,
    flows.SCHEMA,
    flows.LEVEL,
    certificatesigningrequest.KIND,
)
_BY_TYPE: dict[type, AnyKind] = {kind.resource.type: kind for kind in KINDS}


def kind_of(type_: type[ApiObject]) -> AnyKind:
    """The declaration of a type that the server itself works with."""
    return _BY_TYPE[type_]
