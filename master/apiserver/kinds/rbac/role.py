"""Roles and ClusterRoles. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.rbac import ClusterRole, Role
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind
from master.apiserver.registry.validation.metadata import path_segment
from master.apiserver.registry.validation.rbac import validate_cluster_role, validate_role

COLUMNS = columns("Name Created_At")


def cells(obj: Role | ClusterRole, _: datetime) -> Cells:
    return [obj.metadata.name, obj.metadata.creation_timestamp]


KIND = Kind(
    resource=resource_for(Role),
    columns=COLUMNS,
    cells=cells,
    check_name=path_segment,
    validate=validate_role,
)
CLUSTER_KIND = Kind(
    resource=resource_for(ClusterRole),
    columns=COLUMNS,
    cells=cells,
    check_name=path_segment,
    validate=validate_cluster_role,
)
