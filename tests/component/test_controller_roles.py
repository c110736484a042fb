"""Roles that are the sums of others, kept by the real controllers on a real api-server."""

from __future__ import annotations

from pathlib import Path

from kube.api.meta import ObjectMeta
from kube.api.rbac import ClusterRole, PolicyRule
from tests.component.control_harness import control_plane, until
from tests.component.pki_fixture import Pki

SHOPS = PolicyRule(verbs=("get", "list"), api_groups=("example.com",), resources=("shops",))
LABEL = "rbac.authorization.k8s.io/aggregate-to-view"


async def test_a_role_that_adds_to_view_adds_to_edit_and_admin_too(
    tmp_path: Path, pki: Pki
) -> None:
    with control_plane(tmp_path, pki) as plane:
        plane.start_controllers()
        async with plane.client() as client:

            async def has(name: str) -> bool:
                return SHOPS in (await client.get(ClusterRole, name)).rules

            before = (await client.get(ClusterRole, "view")).rules
            meta = ObjectMeta(name="shops", labels={LABEL: "true"})
            await client.create(ClusterRole(metadata=meta, rules=(SHOPS,)))
            for name in ("view", "edit", "admin"):
                await until(lambda name=name: has(name), f"{name} sees shops")  # type: ignore[misc]
            await client.delete(ClusterRole, "shops")

            async def as_before() -> bool:
                return (await client.get(ClusterRole, "view")).rules == before

            await until(as_before, "view is as it was")
