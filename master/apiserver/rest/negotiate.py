"""Which representation a client asks for in its Accept header. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kube.machinery.errors import NotAcceptable

Form = Literal["object", "table", "metadata"]
_JSON = ("application/json", "application/*", "*/*")


@dataclass(frozen=True, slots=True)
class Accepted:
    form: Form
    # meta.k8s.io version of a table: kubectl before 1.16 asks for v1beta1.
    version: str = "v1"


def negotiate(header: str) -> Accepted:
    """The first form of the header that we can give. Raises NotAcceptable."""
    if not header:
        return Accepted("object")
    for clause in header.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        if media not in _JSON:
            continue
        given = dict(p.split("=", 1) for p in parameters if "=" in p)
        form = given.get("as")
        if form is None:
            return Accepted("object")
        version = given.get("v", "v1")
        if given.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
            continue
        if form == "Table":
            return Accepted("table", version)
        if form in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Accepted("metadata", version)
    raise NotAcceptable(
        "only the following media types are accepted: application/json, application/yaml"
    )
