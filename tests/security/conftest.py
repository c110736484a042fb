"""Fixtures of the tests that run pods on a node of their own.

A module has its own `node`, started with the flags and surroundings that its attacks need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.client.client import Client
from provision.images import build_all
from tests.component.kubelet_harness import Machine, Pods


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example images, as archives."""
    made = tmp_path_factory.mktemp("images")
    build_all(made)
    return made


@pytest.fixture
async def client(node: Machine) -> AsyncIterator[Client]:
    async with node.client() as made:
        yield made


@pytest.fixture
async def pods(client: Client) -> AsyncIterator[Pods]:
    made = Pods(client)
    yield made
    await made.clean()
