"""What a subresource is, said in one declaration. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from kube.api.meta import DeleteOptions

# Changes the object (first) by the body of a request (second) at a time (third, RFC 3339).
Edit = Callable[[Any, Any, str], Any]
PART_VERBS = ("get", "patch", "update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subresource:
    """Without `read`, `edit`, `delete` and `connect` it is the object itself, of which this
    endpoint changes what the kind's `on_status` lets it change."""

    name: str
    # As RBAC and discovery say them.
    verbs: tuple[str, ...] = PART_VERBS
    # What requests carry; None: the kind's own type.
    body: type[msgspec.Struct] | None = None
    # How discovery names it: its kind (empty: the object's) and that kind's group and version.
    kind: str = ""
    group: str | None = None
    version: str = ""

    # The body that stands for the object; None: the object is shown.
    read: Callable[[Any], msgspec.Struct] | None = None
    edit: Edit | None = None
    # The edited object is judged as if the client had written all of it.
    judged_whole: bool = False
    # A create deletes the object, with the options that the body holds.
    delete: Callable[[Any], DeleteOptions] | None = None
    # A stream to where the object runs.
    connect: bool = False


STATUS = Subresource(name="status")
