"""Where this host reaches a lab's API, by provider."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from provision.identities import allocate
from provision.labfile.parse import parse_lab
from provision.phases.ready import api_address
from provision.phases.session import Session
from provision.providers.base import SshTarget


class _Session:
    """A lab whose machines are logged into at an address that is not the lab's."""

    def __init__(self, provider: str, masters: int = 1) -> None:
        text = (
            f"apiVersion: muster/v1\nkind: Lab\nspec: {{provider: {provider}, masters: {masters}}}"
        )
        self.record = allocate(parse_lab(text), {})

    async def target(self, name: str) -> SshTarget:
        return SshTarget("192.168.121.7", 22, "vagrant", Path("/key"), "ssh-ed25519 AAAA")


@pytest.mark.parametrize(
    ("provider", "masters", "address"),
    [
        ("vagrant", 1, "10.200.0.11"),
        ("vagrant", 3, "10.200.0.10"),
        ("local", 1, "10.200.0.11"),
        ("ec2", 1, "192.168.121.7"),
    ],
)
async def test_only_a_clouds_machines_have_another_address_outside(
    provider: str, masters: int, address: str
) -> None:
    assert await api_address(cast(Session, _Session(provider, masters))) == address
