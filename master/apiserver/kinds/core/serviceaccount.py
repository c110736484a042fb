"""ServiceAccounts. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.core import ServiceAccount
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind


def cells(obj: ServiceAccount, now: datetime) -> Cells:
    return [obj.metadata.name, len(obj.secrets), age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=resource_for(ServiceAccount), columns=columns("Name Secrets# Age"), cells=cells
)
