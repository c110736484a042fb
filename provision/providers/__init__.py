"""Where machines come from. `provider(name)` gives the one that a lab file names.

A provider is a package here with a `declaration.py`, and its name in the list below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The launcher of local machines passes through this package and counts milliseconds.
    from provision.providers.base import Provider
    from provision.providers.declaration import Declaration

# The first is the default.
PROVIDERS = ["local", "vagrant", "ec2"]


def declared(name: str) -> Declaration:
    """What the provider called `name` says of itself; cheap, unlike the provider."""
    if name not in PROVIDERS:
        from provision.providers.base import ProviderError

        raise ProviderError(f'unknown provider "{name}"', f"use one of {', '.join(PROVIDERS)}")
    found: Declaration = importlib.import_module(f"{__name__}.{name}.declaration").DECLARATION
    return found


def provider(name: str) -> Provider:
    """The provider called `name`. Each is imported only when it is used."""
    return declared(name).make()
