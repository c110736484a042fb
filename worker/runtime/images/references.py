"""Image references: `[registry/]repository[:tag][@digest]`, as users write them. Pure.

The normal form follows docker's convention, which Kubernetes inherited: no registry means
docker.io, a one-word repository there lives under `library/`, no tag means `latest`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker.runtime.errors import InvalidArgument

DEFAULT_REGISTRY = "docker.io"
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference in normal form. Without a tag there is a digest."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """`registry/repository`, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def tagged(self) -> str:
        """The form stored as an image's name; "" when there is only a digest."""
        return f"{self.name}:{self.tag}" if self.tag else ""

    def __str__(self) -> str:
        return (self.tagged or self.name) + (f"@{self.digest}" if self.digest else "")


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def parse(text: str) -> Reference:
    """Parse and normalise; raises InvalidArgument with the reason."""
    rest, _, digest = text.partition("@")
    if digest and not is_digest(digest):
        raise InvalidArgument(f'image "{text}": "{digest}" is not a sha256 digest')
    registry, rest = _split_registry(rest)
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(f'image "{text}": "{tag}" is not a tag')
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    if not _REGISTRY.fullmatch(registry) or not _REPOSITORY.fullmatch(repository):
        raise InvalidArgument(f'image "{text}" is not a valid reference')
    if not tag and not digest:
        tag = "latest"
    return Reference(registry, repository, tag, digest)


def _split_registry(text: str) -> tuple[str, str]:
    """The first component is a registry when it looks like a host: a dot, a port, localhost."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return DEFAULT_REGISTRY, text
