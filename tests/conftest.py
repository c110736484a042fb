"""Fixtures that several test folders share."""

from __future__ import annotations

import pytest

from tests.component.pki_fixture import Pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A CA for this test run; `pki.issue(name)` gives certificates for 127.0.0.1."""
    return Pki.create(tmp_path_factory.mktemp("pki"))
