"""RoleBindings and ClusterRoleBindings (pkg/apis/rbac/v1/defaults.go). Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from kube.api.rbac import ClusterRoleBinding, RoleBinding, RoleRef, Subject
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.metadata import path_segment
from master.apiserver.registry.validation.rbac import (
    GROUP,
    GROUP_KIND,
    SERVICE_ACCOUNT,
    USER,
    validate_binding_update,
    validate_cluster_role_binding,
    validate_role_binding,
)

COLUMNS = columns("Name Role Age Users+ Groups+ ServiceAccounts+")
B = TypeVar("B", RoleBinding, ClusterRoleBinding)


def default(obj: B) -> B:
    ref = obj.role_ref or RoleRef()
    ref = replace(ref, api_group=ref.api_group or GROUP)
    return replace(obj, role_ref=ref, subjects=tuple(_subject(one) for one in obj.subjects))


def _subject(subject: Subject) -> Subject:
    if subject.api_group or subject.kind not in (USER, GROUP_KIND):
        return subject
    return replace(subject, api_group=GROUP)


def cells(obj: RoleBinding | ClusterRoleBinding, now: datetime) -> Cells:
    ref = obj.role_ref or RoleRef()
    named: dict[str, list[str]] = {USER: [], GROUP_KIND: [], SERVICE_ACCOUNT: []}
    for subject in obj.subjects:
        account = subject.kind == SERVICE_ACCOUNT
        shown = f"{subject.namespace}/{subject.name}" if account else subject.name
        named.setdefault(subject.kind, []).append(shown)
    return [
        obj.metadata.name,
        f"{ref.kind}/{ref.name}",
        age(obj.metadata.creation_timestamp, now),
        ", ".join(named[USER]),
        ", ".join(named[GROUP_KIND]),
        ", ".join(named[SERVICE_ACCOUNT]),
    ]


KIND = Kind(
    resource=resource_for(RoleBinding),
    columns=COLUMNS,
    cells=cells,
    default=default,
    check_name=path_segment,
    validate=validate_role_binding,
    validate_update=validate_binding_update,
)
CLUSTER_KIND = Kind(
    resource=resource_for(ClusterRoleBinding),
    columns=COLUMNS,
    cells=cells,
    default=default,
    check_name=path_segment,
    validate=validate_cluster_role_binding,
    validate_update=validate_binding_update,
)
