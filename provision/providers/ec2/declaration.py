"""The EC2 provider to the rest of the house: its stanza in a lab file, and what it is like."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from provision.labfile.base import Cidr, Seconds
from provision.providers.base import Provider
from provision.providers.declaration import Declaration, ProviderOptions


class Ec2Options(ProviderOptions, frozen=True):
    """EC2 instances. What is left out follows AWS's own configuration, or Debian's images."""

    region: str | UnsetType = UNSET
    profile: str | UnsetType = UNSET
    endpoint_url: str | UnsetType = UNSET
    image: Annotated[str, Meta(description="AMI id; left out: Debian 12's.")] | UnsetType = UNSET
    instance_type: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    ingress: list[Cidr] | UnsetType = UNSET
    ports: list[Annotated[int, Meta(ge=1, le=65535)]] | UnsetType = UNSET
    boot_seconds: Seconds | UnsetType = UNSET


def _make() -> Provider:
    # boto3 alone takes a second to import.
    from provision.providers.ec2.provider import Ec2Provider

    return Ec2Provider()


DECLARATION = Declaration("ec2", Ec2Options, _make, in_a_cloud=True)
