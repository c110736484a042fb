"""The Vagrant provider to the rest of the house: its stanza in a lab file."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from provision.labfile.base import Seconds
from provision.providers.base import Provider
from provision.providers.declaration import Declaration, ProviderOptions

Passed = Annotated[
    dict[str, str | int | float | bool],
    Meta(description="Options that go to Vagrant's own provider as they are."),
]


class VagrantOptions(ProviderOptions, frozen=True):
    """Virtual machines by Vagrant."""

    box: str | UnsetType = UNSET
    backend: Literal["libvirt", "virtualbox"] | UnsetType = UNSET
    guest: (
        Annotated[
            str,
            Meta(
                pattern="^[a-z][a-z0-9_]*$",
                description="What the box is, such as debian; left out, Vagrant finds out.",
            ),
        ]
        | UnsetType
    ) = UNSET
    insert_key: bool | UnsetType = UNSET
    boot_seconds: Seconds | UnsetType = UNSET
    halt_seconds: Seconds | UnsetType = UNSET
    libvirt: Passed | UnsetType = UNSET
    virtualbox: Passed | UnsetType = UNSET


def _make() -> Provider:
    from provision.providers.vagrant.provider import VagrantProvider

    return VagrantProvider()


DECLARATION = Declaration("vagrant", VagrantOptions, _make)
