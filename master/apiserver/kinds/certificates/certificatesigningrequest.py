"""CertificateSigningRequests, with their approval (pkg/registry/certificates). Pure.

Who asks is written into the request by an admission plug-in, which knows the user.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from kube.api.certificates import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
)
from kube.machinery.errors import invalid
from kube.machinery.scheme import resource_for
from master.apiserver.kinds.apps.template import fresh_status
from master.apiserver.kinds.cell import NONE, age, human_duration
from master.apiserver.kinds.columns import Cells, columns
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import Kind
from master.apiserver.kinds.parts.subresource import STATUS, Subresource
from master.apiserver.registry.validation.certificates import (
    APPROVED,
    DENIED,
    FAILED,
    validate_issue,
    validate_request,
    validate_request_status,
)

Conditions = tuple[CertificateSigningRequestCondition, ...]
_DECISIONS = (APPROVED, DENIED)


def on_update(
    new: CertificateSigningRequest, old: CertificateSigningRequest
) -> CertificateSigningRequest:
    """Only metadata changes: the request is what was asked, and endpoints of their own answer."""
    return replace(old, metadata=new.metadata)


def on_status(
    new: CertificateSigningRequest, old: CertificateSigningRequest
) -> CertificateSigningRequest:
    """The signer's endpoint: it decides nothing. Raises Invalid."""
    decided = _of_types(old.status.conditions, _DECISIONS)
    others = tuple(c for c in new.status.conditions if c.type not in _DECISIONS)
    status = replace(new.status, conditions=decided + others)
    return _issued(replace(new, spec=old.spec, status=status), old)


def approve(
    old: CertificateSigningRequest, wanted: CertificateSigningRequest, now: str
) -> CertificateSigningRequest:
    """The approver's endpoint: it changes conditions, and issues nothing. Raises Invalid."""
    had = {condition.type for condition in old.status.conditions}
    conditions = tuple(
        condition if condition.type in had else _dated(condition, now)
        for condition in wanted.status.conditions
    )
    status = replace(old.status, conditions=conditions)
    given = wanted.metadata.resource_version
    meta = replace(old.metadata, resource_version=given)
    return _issued(replace(old, metadata=meta, status=status), old)


def _dated(
    condition: CertificateSigningRequestCondition, now: str
) -> CertificateSigningRequestCondition:
    return replace(
        condition,
        last_update_time=condition.last_update_time or now,
        last_transition_time=condition.last_transition_time or now,
    )


def _issued(
    new: CertificateSigningRequest, old: CertificateSigningRequest
) -> CertificateSigningRequest:
    if causes := validate_issue(new, old):
        raise invalid("CertificateSigningRequest", "certificates.k8s.io", old.metadata.name, causes)
    return new


def _of_types(conditions: Conditions, types: tuple[str, ...]) -> Conditions:
    return tuple(condition for condition in conditions if condition.type in types)


class _Spec(Struct, rename="camel", frozen=True):
    signer_name: str = ""


class _Request(Part, rename="camel", frozen=True):
    spec: _Spec = _Spec()


def selectable(request: _Request) -> dict[str, str]:
    return {"spec.signerName": request.spec.signer_name}


def cells(obj: CertificateSigningRequest, now: datetime) -> Cells:
    seconds = obj.spec.expiration_seconds
    return [
        obj.metadata.name,
        age(obj.metadata.creation_timestamp, now),
        obj.spec.signer_name,
        obj.spec.username,
        NONE if seconds is None else human_duration(seconds),
        _state(obj),
    ]


def _state(obj: CertificateSigningRequest) -> str:
    types = {condition.type for condition in obj.status.conditions}
    state = DENIED if DENIED in types else APPROVED if APPROVED in types else ""
    state = state or "Pending"
    if FAILED in types:
        state += f",{FAILED}"
    return f"{state},Issued" if obj.status.certificate else state


APPROVAL = Subresource(name="approval", edit=approve)
KIND = Kind(
    resource=resource_for(CertificateSigningRequest),
    columns=columns("Name Age SignerName Requestor RequestedDuration Condition"),
    cells=cells,
    fields=Fields(_Request, selectable),
    on_create=fresh_status(CertificateSigningRequestStatus),
    on_update=on_update,
    on_status=on_status,
    validate=validate_request,
    validate_status=validate_request_status,
    subresources=(STATUS, APPROVAL),
)
