"""Where machines come from. `provider(name)` gives the one that a lab file names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The launcher of local machines passes through this package and counts milliseconds.
    from provision.providers.base import Provider

NAMES = ("local", "vagrant", "ec2")


def provider(name: str) -> Provider:
    """The provider called `name`. Each is imported only when used: boto3 alone takes a second."""
    if name == "local":
        from provision.providers.local.provider import LocalProvider

        return LocalProvider()
    if name == "vagrant":
        from provision.providers.vagrant.provider import VagrantProvider

        return VagrantProvider()
    if name == "ec2":
        from provision.providers.ec2.provider import Ec2Provider

        return Ec2Provider()
    from provision.providers.base import ProviderError

    raise ProviderError(f'unknown provider "{name}"', f"use one of {', '.join(NAMES)}")
