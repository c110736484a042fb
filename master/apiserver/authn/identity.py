"""From a verified client certificate to a user: CN is the name, each O a group (x509 authn)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from kube.machinery.subjects import NODE_PREFIX, NODES

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
ANONYMOUS_NAME = "system:anonymous"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: frozenset[str]
    # Only impersonation gives these; a certificate has neither.
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def is_node(self) -> bool:
        return NODES in self.groups and self.name.startswith(NODE_PREFIX)

    @property
    def node_name(self) -> str:
        """The node that this user is the kubelet of, or ""."""
        return self.name.removeprefix(NODE_PREFIX) if self.is_node else ""


ANONYMOUS = User(ANONYMOUS_NAME, frozenset({UNAUTHENTICATED}))
# What the api-server itself does (bootstrap) is not asked about.
LOOPBACK = User("system:apiserver", frozenset({MASTERS}))


def user_from_subject(common_name: str, organizations: list[str]) -> User:
    if not common_name:
        return ANONYMOUS
    return User(common_name, frozenset({*organizations, AUTHENTICATED}))


@dataclass(frozen=True, slots=True)
class Credential:
    """Whom a certificate names, and until when."""

    user: User
    expires: datetime


@lru_cache(maxsize=4096)
def credential_from_der(der: bytes) -> Credential:
    """What a certificate that TLS has verified says."""
    certificate = x509.load_der_x509_certificate(der)
    return Credential(_user(certificate), certificate.not_valid_after_utc)


@lru_cache(maxsize=4096)
def credential_from_pem(pem: bytes) -> Credential:
    """The same, of one in text."""
    certificate = x509.load_pem_x509_certificate(pem)
    return Credential(_user(certificate), certificate.not_valid_after_utc)


def _user(certificate: x509.Certificate) -> User:
    subject = certificate.subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return user_from_subject(
        str(names[0].value) if names else "", [str(group.value) for group in groups]
    )
