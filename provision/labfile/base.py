"""What all stanzas of a lab file are made of: the strict base, and its common types."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

# A lab's name becomes part of interface names, which the kernel cuts at 15 characters.
NAME_PATTERN = "^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$"
SIZE_PATTERN = "^[1-9][0-9]{0,9}(Mi|Gi|Ti)$"
DISK_PATTERN = "^([1-9][0-9]{0,9}(Mi|Gi|Ti)|none)$"
CIDR_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"
PORT_RANGE_PATTERN = "^[0-9]{1,5}-[0-9]{1,5}$"

Name = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        description="A DNS label of at most 12 characters: a-z, 0-9 and '-', first a letter.",
    ),
]
Size = Annotated[str, Meta(pattern=SIZE_PATTERN, description="A size such as 512Mi, 2Gi or 1Ti.")]
Cidr = Annotated[str, Meta(pattern=CIDR_PATTERN, description="An IPv4 network: 10.200.0.0/24.")]
Cpus = Annotated[float, Meta(gt=0, le=256, description="Processors; fractions are allowed.")]
PortRange = Annotated[
    str, Meta(pattern=PORT_RANGE_PATTERN, description="A range of ports such as 30000-32767.")
]

Seconds = Annotated[float, Meta(gt=0)]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of every stanza: frozen, camelCase outside, unknown fields refused."""
