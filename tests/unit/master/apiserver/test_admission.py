"""Admission: plug-ins run in order, each sees what the former made, and any may refuse."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from kube.api.core import ConfigMap, Container, Namespace, Pod, PodSpec, Toleration
from kube.api.meta import ObjectMeta
from kube.machinery.errors import Forbidden, NotFound
from kube.machinery.scheme import ApiObject, resource_for
from master.apiserver.admission import chain, limitranger, namespacelifecycle, priority
from master.apiserver.admission.attributes import Attributes, Plugin, World, forbidden
from master.apiserver.admission.chain import Admission, Chain
from master.apiserver.authn.identity import User
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.kinds.settings import Settings, TolerationSeconds, parse_ranges
from master.apiserver.registry.options import Target

USER = User("somebody", frozenset())
SETTINGS = Settings(parse_ranges("10.96.0.0/16", "30000-32767"), TolerationSeconds(1, 2))
PODS = Target(kind_of(Pod), "ns")


def of(target: Target, plugins: tuple[Plugin, ...]) -> Admission:
    """The hook of plug-ins that look at nothing but the write."""
    nothing = cast(Any, None)
    return Chain(nothing, nothing, SETTINGS, nothing, plugins).of(USER, target)


# These look at other objects.
LOOKING = (namespacelifecycle.PLUGIN, priority.PLUGIN, limitranger.PLUGIN)


async def admitted(**spec: object) -> PodSpec:
    plugins = tuple(p for p in chain.PLUGINS if p not in LOOKING)
    made = Pod(metadata=ObjectMeta(name="x"), spec=PodSpec(**spec))
    return (await of(PODS, plugins).admit(made, None)).spec


async def test_new_pods_get_an_account_and_tolerations() -> None:
    spec = await admitted(containers=(Container(name="c"),))
    assert spec.service_account_name == "default"
    assert [(t.key, t.toleration_seconds) for t in spec.tolerations] == [
        ("node.kubernetes.io/not-ready", 1),
        ("node.kubernetes.io/unreachable", 2),
    ]


async def test_what_a_pod_says_itself_stands() -> None:
    everything = (Toleration(operator="Exists"),)
    spec = await admitted(tolerations=everything, service_account="own")
    assert (spec.tolerations, spec.service_account_name) == (everything, "own")


async def test_stored_pods_are_left_alone() -> None:
    old = Pod(metadata=ObjectMeta(name="x"))
    target = Target(kind_of(Pod), "ns", "x")
    plugins = tuple(p for p in chain.PLUGINS if p is not namespacelifecycle.PLUGIN)
    assert await of(target, plugins).admit(old, old) is old


async def test_a_plug_in_is_one_declaration_and_a_line_in_the_list() -> None:
    async def label(asked: Attributes, _: World) -> msgspec.Struct | None:
        found = asked.new
        assert isinstance(found, ConfigMap)
        return replace(found, metadata=replace(found.metadata, labels={"seen": "by-label"}))

    async def note(asked: Attributes, _: World) -> msgspec.Struct | None:
        found = asked.new
        assert isinstance(found, ConfigMap)
        return replace(found, data={"labels": str(found.metadata.labels)})

    async def refuse_large(asked: Attributes, _: World) -> None:
        if isinstance(asked.new, ConfigMap) and len(asked.new.data) > 1:
            raise forbidden(asked, "too much is in it")

    plugins = (
        Plugin(name="Label", admit=label),
        Plugin(name="Note", admit=note, validate=refuse_large),
    )
    hook = of(Target(kind_of(ConfigMap), "ns"), plugins)
    made = await hook.admit(ConfigMap(metadata=ObjectMeta(name="m")), None)
    assert made.data == {"labels": "{'seen': 'by-label'}"}
    await hook.validate(made, None)
    with pytest.raises(Forbidden, match='configmaps "m" is forbidden: too much is in it'):
        await hook.validate(replace(made, data={"a": "", "b": ""}), None)


class Namespaces:
    """A world of one namespace, as the server knows it and as the store has it."""

    settings = SETTINGS

    def __init__(self, known: Namespace | None, stored: Namespace | None) -> None:
        self._known, self._stored = known, stored

    def lookup(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        return self._known

    async def fetch(self, type_: type[ApiObject], namespace: str, name: str) -> ApiObject | None:
        return self._stored


ALIVE = Namespace(metadata=ObjectMeta(name="ns"))
DYING = Namespace(metadata=ObjectMeta(name="ns", deletion_timestamp="2026-01-01T00:00:00Z"))
CREATE = Attributes(USER, "CREATE", resource_for(Pod), "", "ns", "x", Pod())


async def test_pods_are_made_in_living_namespaces_only() -> None:
    await namespacelifecycle.admit(CREATE, Namespaces(ALIVE, None))
    await namespacelifecycle.admit(CREATE, Namespaces(None, ALIVE))  # made a moment ago
    await namespacelifecycle.admit(CREATE, Namespaces(DYING, ALIVE))  # made anew
    with pytest.raises(NotFound, match='namespaces "ns" not found'):
        await namespacelifecycle.admit(CREATE, Namespaces(None, None))
    with pytest.raises(Forbidden, match="because it is being terminated"):
        await namespacelifecycle.admit(CREATE, Namespaces(DYING, DYING))


async def test_the_namespaces_that_the_cluster_stands_on_stay() -> None:
    delete = Attributes(USER, "DELETE", resource_for(Namespace), "", "", "kube-system")
    with pytest.raises(Forbidden, match="this namespace may not be deleted"):
        await namespacelifecycle.admit(delete, Namespaces(ALIVE, ALIVE))
