"""Where machines come from. `provider(name)` gives the one that a lab file names."""

from __future__ import annotations

from provision.providers.base import Provider, ProviderError

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
    raise ProviderError(f'unknown provider "{name}"', f"use one of {', '.join(NAMES)}")
