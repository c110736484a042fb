"""What a decoded request must be, beside well-formed: of the kind that was named. Pure."""

from __future__ import annotations

from typing import Any

from kube.api.meta import DeleteOptions
from kube.machinery.errors import BadRequest
from kube.machinery.scheme import Resource
from master.apiserver.decoding.codec import Codec
from master.apiserver.decoding.query import unsupported

POLICIES = ("Background", "Foreground", "Orphan")
# Evictions of kubectl before 1.22.
_OLDER_VERSIONS = {"Eviction": ("policy/v1beta1",)}


def check_kind(kind: Any, version: Any, codec: Codec, resource: Resource) -> None:
    """The body must be of the kind and version that the URL names. Raises BadRequest."""
    if kind not in (None, "", codec.kind):
        raise BadRequest(
            f'{str(kind)[:80]} in version "{str(version)[:80]}" cannot be handled as a '
            f"{codec.kind}: the request's resource is {resource.plural}"
        )
    expected = codec.api_version
    if version not in (None, "", expected, *_OLDER_VERSIONS.get(codec.kind, ())):
        raise BadRequest(
            f"the API version in the data ({str(version)[:80]}) does not match the expected API "
            f"version ({expected})"
        )


def checked(options: DeleteOptions) -> DeleteOptions:
    """The options, if they ask for something that there is. Raises Invalid."""
    if options.propagation_policy not in ("", *POLICIES):
        wrong = options.propagation_policy
        raise unsupported("DeleteOptions", "propagationPolicy", wrong, POLICIES)
    for dry in options.dry_run:
        if dry != "All":
            raise unsupported("DeleteOptions", "dryRun", dry, ("All",))
    return options
