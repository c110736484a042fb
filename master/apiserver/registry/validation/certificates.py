"""Validation of CertificateSigningRequests (pkg/apis/certificates/validation). Pure."""

from __future__ import annotations

import base64
import binascii

from kube.api.certificates import CertificateSigningRequest, CertificateSigningRequestCondition
from kube.api.meta import StatusCause
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.metadata import dns_subdomain

Causes = list[StatusCause]
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
MIN_SECONDS = 600
_BEGIN, _END = b"-----BEGIN CERTIFICATE REQUEST-----", b"-----END CERTIFICATE REQUEST-----"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign",
    "data encipherment", "decipher only", "digital signature", "email protection", "encipher only",
    "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment",
    "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing",
    "timestamping",
)  # fmt: skip


def validate_request(obj: CertificateSigningRequest) -> Causes:
    spec = obj.spec
    causes = _pem(spec.request, "spec.request") + _signer(spec.signer_name, "spec.signerName")
    if not spec.usages:
        causes.append(field.required("spec.usages"))
    for index, usage in enumerate(spec.usages):
        path = f"spec.usages[{index}]"
        if usage not in _USAGES:
            causes.append(field.not_supported(path, usage, _USAGES))
        if usage in spec.usages[:index]:
            causes.append(field.duplicate(path, usage))
    seconds = spec.expiration_seconds
    if seconds is not None and seconds < MIN_SECONDS:
        text = f"may not specify a duration less than {MIN_SECONDS} seconds (10 minutes)"
        causes.append(field.invalid("spec.expirationSeconds", seconds, text))
    return causes + validate_request_status(obj)


def _pem(text: str, path: str) -> Causes:
    """The envelope alone: what is in it is for the signer to judge."""
    if not text:
        return [field.required(path)]
    try:
        pem = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return [field.invalid(path, "<omitted>", "illegal base64 data")]
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if begin < 0 or end < begin:
        why = "PEM block type must be CERTIFICATE REQUEST"
        return [field.invalid(path, text, f"unable to parse csr: {why}")]
    try:
        base64.b64decode(b"".join(pem[begin + len(_BEGIN) : end].split()), validate=True)
    except (binascii.Error, ValueError):
        why = "PEM block type must be CERTIFICATE REQUEST"
        return [field.invalid(path, text, f"unable to parse csr: {why}")]
    return []


def _signer(name: str, path: str) -> Causes:
    if not name:
        return [field.required(path)]
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest or not rest or "." not in domain:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [field.invalid(path, name, text)]
    causes: Causes = []
    if why := dns_subdomain(domain):
        causes.append(field.invalid(path, domain, why))
    for part in rest.split("."):
        if why := dns_subdomain(part):
            causes.append(field.invalid(path, rest, why))
    return causes


def validate_request_status(obj: CertificateSigningRequest) -> Causes:
    causes: Causes = []
    types = [condition.type for condition in obj.status.conditions]
    for index, condition in enumerate(obj.status.conditions):
        path = f"status.conditions[{index}]"
        causes += _condition(condition, path)
        if condition.type in types[:index]:
            causes.append(field.duplicate(f"{path}.type", condition.type))
    if APPROVED in types and DENIED in types:
        path = f"status.conditions[{max(types.index(APPROVED), types.index(DENIED))}].type"
        text = "Approved and Denied conditions are mutually exclusive"
        causes.append(field.invalid(path, types[-1], text))
    certificate = obj.status.certificate
    if certificate and not _is_certificate(certificate):
        text = "must contain at least one CERTIFICATE PEM block"
        causes.append(field.invalid("status.certificate", "<certificate data>", text))
    return causes


def _condition(condition: CertificateSigningRequestCondition, path: str) -> Causes:
    if not condition.type:
        return [field.required(f"{path}.type")]
    here = f"{path}.status"
    if condition.type in (APPROVED, DENIED, FAILED):
        if condition.status != "True":
            wrong = field.not_supported(here, condition.status, ("True",))
            return [wrong if condition.status else field.required(here)]
    elif condition.status not in ("True", "False", "Unknown"):
        choices = ("True", "False", "Unknown")
        wrong = field.not_supported(here, condition.status, choices)
        return [wrong if condition.status else field.required(here)]
    return []


def _is_certificate(text: str) -> bool:
    try:
        return _CERTIFICATE in base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False


def validate_issue(new: CertificateSigningRequest, old: CertificateSigningRequest) -> Causes:
    """What was decided or issued stays so."""
    causes: Causes = []
    for type_ in (APPROVED, DENIED, FAILED):
        had = any(condition.type == type_ for condition in old.status.conditions)
        if had and not any(condition.type == type_ for condition in new.status.conditions):
            text = f'updates may not remove a condition of type "{type_}"'
            causes.append(field.forbidden("status.conditions", text))
    if old.status.certificate and new.status.certificate != old.status.certificate:
        text = "updates may not change an issued certificate"
        causes.append(field.forbidden("status.certificate", text))
    return causes
