"""VolumeAttachments. Pure."""

from __future__ import annotations

from datetime import datetime

from kube.api.storage import VolumeAttachment, VolumeAttachmentStatus
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation.storage import (
    validate_attachment,
    validate_attachment_update,
)


def cells(obj: VolumeAttachment, now: datetime) -> Cells:
    return [
        obj.metadata.name,
        obj.spec.attacher,
        obj.spec.source.persistent_volume_name if obj.spec.source else "",
        obj.spec.node_name,
        obj.status.attached or False,
        age(obj.metadata.creation_timestamp, now),
    ]


KIND = Kind(
    resource=resource_for(VolumeAttachment),
    columns=columns("Name Attacher PV Node Attached Age"),
    cells=cells,
    on_create=fresh_status(lambda: VolumeAttachmentStatus(attached=False)),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate_attachment,
    validate_update=validate_attachment_update,
    answers_deleted=True,
    subresources=(STATUS,),
)
