"""Names, labels, annotations, owner references (apimachinery util/validation)."""

from __future__ import annotations

import re

from kube.api.meta import ObjectMeta, StatusCause
from master.apiserver.registry.validation import field
from master.apiserver.registry.validation.managed import validate_managed_fields

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
TOTAL_ANNOTATION_BYTES = 256 * 1024

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
    "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    "character (e.g. '*.example.com', regex used for validation is "
    "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
DNS_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or "
    "'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used "
    "for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
    "'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def dns_label(name: str) -> str | None:
    if len(name) > 63:
        return "must be no more than 63 characters"
    return None if _LABEL.fullmatch(name) else LABEL_TEXT


def dns_1035(name: str) -> str | None:
    if len(name) > 63:
        return "must be no more than 63 characters"
    return None if _DNS_1035.fullmatch(name) else DNS_1035_TEXT


def dns_subdomain(name: str) -> str | None:
    if len(name) > 253:
        return "must be no more than 253 characters"
    return None if _SUBDOMAIN.fullmatch(name) else SUBDOMAIN_TEXT


def wildcard_subdomain(name: str) -> str | None:
    """`*.example.com`: one star, as the first label."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    wild = name.startswith("*.") and _SUBDOMAIN.fullmatch(name[2:])
    return None if wild else WILDCARD_TEXT


def path_segment(name: str) -> str | None:
    """A name that is one step of a path, whatever else it is (ValidatePathSegmentName)."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    wrong = [f"may not contain '{character}'" for character in "/%" if character in name]
    return wrong[0] if wrong else None


def qualified_name(key: str) -> str | None:
    prefix, slash, name = key.rpartition("/")
    if slash and (not prefix or dns_subdomain(prefix)):
        return f"prefix part {dns_subdomain(prefix) or 'must be non-empty'}"
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    return None if _QUALIFIED.fullmatch(name) else QUALIFIED_TEXT


def label_value(value: str) -> str | None:
    if len(value) > 63:
        return "must be no more than 63 characters"
    return None if _LABEL_VALUE.fullmatch(value) else LABEL_VALUE_TEXT


def validate_labels(labels: dict[str, str], path: str) -> list[StatusCause]:
    causes = []
    for key, value in labels.items():
        if why := qualified_name(key):
            causes.append(field.invalid(path, key, why))
        if why := label_value(value):
            causes.append(field.invalid(path, value, why))
    return causes


def validate_metadata(meta: ObjectMeta) -> list[StatusCause]:
    """All of metadata but the name, whose rules differ from kind to kind."""
    causes = validate_labels(meta.labels, "metadata.labels")
    causes += validate_annotations(meta.annotations, "metadata.annotations")
    for index, finalizer in enumerate(meta.finalizers):
        if why := qualified_name(finalizer):
            causes.append(field.invalid(f"metadata.finalizers[{index}]", finalizer, why))
    for index, owner in enumerate(meta.owner_references):
        path = f"metadata.ownerReferences[{index}]"
        for name, value in (
            ("apiVersion", owner.api_version),
            ("kind", owner.kind),
            ("name", owner.name),
            ("uid", owner.uid),
        ):
            if not value:
                causes.append(field.invalid(f"{path}.{name}", "", f"{name} must not be empty"))
    causes += validate_managed_fields(meta.managed_fields)
    if sum(1 for owner in meta.owner_references if owner.controller) > 1:
        causes.append(
            field.invalid(
                "metadata.ownerReferences",
                [owner.name for owner in meta.owner_references],
                "Only one reference can have Controller set to true.",
            )
        )
    return causes


def validate_annotations(annotations: dict[str, str], path: str) -> list[StatusCause]:
    causes = []
    for key in annotations:
        if why := qualified_name(key.lower()):
            causes.append(field.invalid(path, key, why))
    total = sum(len(key) + len(value) for key, value in annotations.items())
    if total > TOTAL_ANNOTATION_BYTES:
        causes.append(field.too_long(path, TOTAL_ANNOTATION_BYTES))
    return causes
