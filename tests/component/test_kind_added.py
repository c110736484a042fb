"""A kind is one file and one line: this one is served by a real api-server, to stock kubectl, to
our client, and to the garbage collector."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from kube.api.autoscaling import Scale
from kube.api.core import ConfigMap
from kube.api.meta import ObjectMeta, OwnerReference
from kube.machinery.errors import Invalid, NotFound
from kube.machinery.scheme import Resource
from tests.component.control_harness import ControlPlane, control_plane, until
from tests.component.pki_fixture import Pki

# The file: types and declaration of a kind with a status and a scale, a column, a default and a
# validation. (Published types are generated; this kind is nobody's.)
WIDGET = '''
"""Widgets, which are turned."""

from msgspec import Struct
from msgspec.structs import replace

from kube.api.base import OPTIONS, Int32
from kube.api.meta import LabelSelector
from kube.api.object import ApiObject
from kube.machinery.scheme import Resource
from master.apiserver.kinds.cell import age
from master.apiserver.kinds.columns import columns
from master.apiserver.kinds.kind import Kind, keep_spec, keep_status, spec_of
from master.apiserver.kinds.parts.scale import SCALE
from master.apiserver.kinds.parts.subresource import STATUS
from master.apiserver.registry.validation import field


class WidgetSpec(Struct, rename="camel", **OPTIONS):
    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    turns: Int32 | None = None


class WidgetStatus(Struct, rename="camel", **OPTIONS):
    replicas: Int32 | None = None


class Widget(ApiObject, rename="camel", **OPTIONS):
    api_version: str = "workshop.example/v1"
    kind: str = "Widget"
    spec: WidgetSpec = WidgetSpec()
    status: WidgetStatus = WidgetStatus()


def default(obj):
    replicas = 1 if obj.spec.replicas is None else obj.spec.replicas
    return replace(obj, spec=replace(obj.spec, replicas=replicas))


def validate(obj):
    turns = obj.spec.turns or 0
    return [] if turns >= 0 else [field.invalid("spec.turns", turns, "must not be negative")]


def cells(obj, now):
    return [obj.metadata.name, obj.spec.turns or 0, age(obj.metadata.creation_timestamp, now)]


KIND = Kind(
    resource=Resource(
        "workshop.example", "v1", "Widget", "widgets", Widget, "widget", short_names=("wg",)
    ),
    columns=columns("Name Turns# Age"),
    cells=cells,
    default=default,
    on_create=lambda obj: replace(obj, status=WidgetStatus()),
    on_update=keep_status,
    on_status=keep_spec,
    validate=validate,
    counted=spec_of,
    subresources=(STATUS, SCALE),
)
'''
# The line, and `python -m master.apiserver`.
RUN = """
from master.apiserver.kinds import catalog
import widget
catalog.KINDS = (*catalog.KINDS, widget.KIND)
import sys
from master.apiserver.main import main
sys.exit(main())
"""
MANIFEST = """
apiVersion: workshop.example/v1
kind: Widget
metadata: {name: w, labels: {a: b}}
spec: {turns: 7, selector: {matchLabels: {app: w}}}
"""


@pytest.fixture
def plane(tmp_path: Path, pki: Pki) -> Iterator[ControlPlane]:
    (tmp_path / "widget.py").write_text(WIDGET)
    script = tmp_path / "apiserver_with_widgets.py"
    script.write_text(RUN)
    with control_plane(tmp_path, pki, script=script) as running:
        yield running


@pytest.fixture
def widget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as a client would import it."""
    (tmp_path / "widget.py").write_text(WIDGET)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("widget", None)
    import widget as module  # type: ignore[import-not-found]

    return module  # type: ignore[no-any-return]


def manifest(plane: ControlPlane, text: str = MANIFEST) -> str:
    path = plane.directory / "widget.yaml"
    path.write_text(text)
    return str(path)


async def test_kubectl_finds_shows_scales_and_applies_it(plane: ControlPlane) -> None:
    assert "widgets" in plane.kubectl("api-resources", "--api-group", "workshop.example").stdout
    plane.kubectl("create", "-f", manifest(plane))
    lines = [line.split() for line in plane.kubectl("get", "wg").stdout.splitlines()]
    assert lines[0] == ["NAME", "TURNS", "AGE"] and lines[1][:2] == ["w", "7"]

    explained = plane.kubectl("explain", "widget.spec").stdout
    assert "turns\t<integer>" in explained and "GROUP:      workshop.example" in explained
    wrong = manifest(plane, MANIFEST.replace("turns: 7", "turn: 7"))
    assert 'unknown field "spec.turn"' in plane.kubectl("create", "-f", wrong, check=False).stderr
    wrong = manifest(plane, MANIFEST.replace("turns: 7", "turns: -1"))
    refused = plane.kubectl("apply", "-f", wrong, check=False).stderr
    assert 'The Widget "w" is invalid: spec.turns: Invalid value: -1' in refused

    plane.kubectl("scale", "widget/w", "--replicas", "3")
    found = json.loads(plane.kubectl("get", "widget", "w", "-o", "json").stdout)
    assert found["spec"]["replicas"] == 3 and found["metadata"]["generation"] == 2
    for how in ((), ("--server-side", "--force-conflicts")):
        turned = manifest(plane, MANIFEST.replace("turns: 7", f"turns: {8 + len(how)}"))
        plane.kubectl("apply", "-f", turned, *how)
        found = json.loads(plane.kubectl("get", "widget", "w", "-o", "json").stdout)
        assert found["spec"]["turns"] == 8 + len(how)
    plane.kubectl("patch", "widget", "w", "--type=json",
                  "-p", '[{"op": "add", "path": "/metadata/labels/c", "value": "d"}]')  # fmt: skip
    plane.kubectl("patch", "widget", "w", "--subresource=status", "--type=merge",
                  "-p", '{"status": {"replicas": 2}, "spec": {"turns": 0}}')  # fmt: skip
    found = json.loads(plane.kubectl("get", "widget", "w", "-o", "json").stdout)
    assert found["status"] == {"replicas": 2} and found["spec"]["turns"] == 10
    plane.kubectl("delete", "widget", "w")


async def test_the_components_client_reads_and_writes_it(
    plane: ControlPlane, widget: ModuleType
) -> None:
    row: Resource = widget.KIND.resource
    async with plane.client() as client:
        meta = ObjectMeta(name="x", namespace="default")
        made = await client.create(widget.Widget(metadata=meta), resource=row)
        assert made.spec.replicas == 1
        with pytest.raises(Invalid):
            wrong = replace(made, spec=replace(made.spec, turns=-1))
            await client.update(wrong, resource=row)
        status = replace(made, status=widget.WidgetStatus(replicas=1))
        seen = await client.update_status(status, resource=row)
        assert seen.status.replicas == 1
        scale = await client.patch(
            Scale, "x", {"spec": {"replicas": 5}}, "default", subresource="scale", resource=row
        )
        assert scale.spec.replicas == 5
        listed = await client.list(widget.Widget, "default", resource=row)
        assert [obj.spec.replicas for obj in listed.items] == [5]
        served = await anext(client.discover())
        assert row.plural in [kind.resource.plural for kind in served if kind.stored]


async def test_it_is_collected_with_its_owner_and_goes_with_its_namespace(
    plane: ControlPlane, widget: ModuleType
) -> None:
    row: Resource = widget.KIND.resource
    plane.start_controllers()
    async with plane.client() as client:
        owner = await client.create(
            ConfigMap(metadata=ObjectMeta(name="owner", namespace="default"))
        )
        ref = OwnerReference(
            api_version="v1", kind="ConfigMap", name="owner", uid=owner.metadata.uid
        )
        owned = ObjectMeta(name="owned", namespace="default", owner_references=(ref,))
        first = await client.create(widget.Widget(metadata=owned), resource=row)
        # And the other way: what a widget owns goes with it.
        own = OwnerReference(
            api_version=first.api_version, kind="Widget", name="owned", uid=first.metadata.uid
        )
        below = ObjectMeta(name="below", namespace="default", owner_references=(own,))
        await client.create(ConfigMap(metadata=below))
        await client.delete(ConfigMap, "owner", "default")

        async def is_gone(type_: Any, name: str, row: Resource | None = None) -> bool:
            try:
                await client.get(type_, name, "default", row)
            except NotFound:
                return True
            return False

        await until(lambda: is_gone(widget.Widget, "owned", row), "the widget collected")
        await until(lambda: is_gone(ConfigMap, "below"), "what it owned collected")

        plane.kubectl("create", "namespace", "short")
        inside = ObjectMeta(name="inside", namespace="short")
        await client.create(widget.Widget(metadata=inside), resource=row)
        plane.kubectl("delete", "namespace", "short", "--timeout=60s")
        assert not (await client.list(widget.Widget, "short", resource=row)).items
