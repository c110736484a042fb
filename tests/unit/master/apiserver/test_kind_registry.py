"""The registry as a value: kinds come and go, in several versions of which one is stored."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from kube.api.apiextensions import CustomResourceDefinition
from kube.api.base import OPTIONS
from kube.api.core import ConfigMap, Node, Pod
from kube.api.meta import ObjectMeta
from kube.api.object import ApiObject, OpenObject
from kube.machinery.errors import BadRequest
from kube.machinery.schema import Field, Schema
from kube.machinery.scheme import Resource
from master.apiserver.cache.entry import Selection
from master.apiserver.cache.resource import ResourceCache
from master.apiserver.decoding import limits
from master.apiserver.decoding.codec import OpenCodec
from master.apiserver.kinds.catalog import KINDS, kind_of
from master.apiserver.kinds.fields import Fields, Part
from master.apiserver.kinds.kind import AnyKind, Conversion, Kind
from master.apiserver.kinds.registry import Registry, priority
from master.apiserver.registry.api import APPLY_PATCH, most_values
from master.apiserver.registry.options import Target
from master.apiserver.rest import discovery
from master.apiserver.storage.codec import from_stored, shown, to_stored, with_revision


class Old(ApiObject, rename="camel", **OPTIONS):
    api_version: str = "example.com/v1"
    kind: str = "Bell"
    tone: str = ""


class New(ApiObject, rename="camel", **OPTIONS):
    api_version: str = "example.com/v2"
    kind: str = "Bell"
    tones: tuple[str, ...] = ()


NEW: Kind[New] = Kind(resource=Resource("example.com", "v2", "Bell", "bells", New, "bell"))
OLD: Kind[Old] = Kind(
    resource=Resource("example.com", "v1", "Bell", "bells", Old, "bell"),
    conversion=Conversion(
        kind=NEW,
        to_stored=lambda old: New(metadata=old.metadata, tones=(old.tone,) if old.tone else ()),
        from_stored=lambda new: Old(metadata=new.metadata, tone="".join(new.tones[:1])),
    ),
)


def open_kind(schema: Schema) -> AnyKind:
    resource = Resource("example.com", "v1", "Bell", "bells", OpenObject, "bell")
    return Kind(
        resource=resource, codec=OpenCodec(resource, lambda: schema), stored_under="example.com/b"
    )


def test_kinds_come_and_go_and_followers_hear_of_it() -> None:
    registry = Registry(KINDS)
    heard: list[int] = []
    stop = registry.on_change(lambda: heard.append(len(registry.kinds)))
    registry.add(NEW, OLD)
    assert registry.find("example.com", "v1", "bells") is OLD
    registry.remove(NEW, OLD)
    assert registry.find("example.com", "v1", "bells") is None
    assert registry.at_key("/registry/bells/x/y") is None
    stop()
    registry.add(NEW)
    assert heard == [len(KINDS) + 2, len(KINDS)]


def test_a_name_that_is_taken_changes_nothing() -> None:
    registry = Registry(KINDS)
    with pytest.raises(ValueError, match="configmaps"):
        registry.add(NEW, kind_of(ConfigMap))
    assert registry.kinds == KINDS


def test_versions_share_what_is_stored_and_the_newest_is_preferred() -> None:
    registry = Registry((OLD, NEW))
    assert registry.stored == (NEW,)
    assert registry.find("example.com", "", "bells") is NEW
    assert list(registry.groups["example.com"]) == ["v2", "v1"]
    assert registry.at_key("/registry/bells/ns/x") == (NEW, "ns/x")
    group = discovery.api_group(registry, "example.com")
    assert group is not None and group["preferredVersion"]["version"] == "v2"
    hashes = {
        entry["storageVersionHash"]
        for version in ("v1", "v2")
        for entry in (discovery.resource_list(registry, "example.com", version) or {})["resources"]
    }
    assert len(hashes) == 1


def test_versions_are_ordered_as_upstream_orders_them() -> None:
    given = ["foo1", "v1alpha1", "v1", "v2beta1", "v10", "v1beta2", "v2"]
    wanted = ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo1"]
    assert sorted(given, key=priority, reverse=True) == wanted


def test_an_object_is_shown_in_the_version_that_was_asked_for() -> None:
    bell = Old(metadata=ObjectMeta(name="b", namespace="ns"), tone="deep")
    assert OLD.conversion is not None
    stored = to_stored(NEW, OLD.conversion.to_stored(bell))
    assert msgspec.json.decode(stored)["tones"] == ["deep"]
    seen = msgspec.json.decode(shown(OLD, with_revision(NEW, stored, 5)))
    assert seen == {
        "apiVersion": "example.com/v1",
        "kind": "Bell",
        "metadata": {"name": "b", "namespace": "ns", "resourceVersion": "5"},
        "tone": "deep",
    }
    assert Target(OLD, "ns", "b").stored == Target(NEW, "ns", "b")


def test_an_open_kind_is_pruned_by_its_schema_and_otherwise_kept() -> None:
    text = Schema("scalar", format="string")
    loose = Schema("struct", preserves=True, _fields={})
    fields = {"tone": Field("tone", "tone", text, str), "any": Field("any", "any", loose, None)}
    kind = open_kind(Schema("struct", _fields=fields))
    value = {
        "apiVersion": "example.com/v1", "kind": "Bell", "metadata": {"name": "b", "bogus": 1},
        "tone": "deep", "other": 1, "any": {"thing": [1, {"x": 0}]},
    }  # fmt: skip
    obj = kind.codec.typed(value, "Bell")
    assert obj.content == {"tone": "deep", "any": {"thing": [1, {"x": 0}]}}
    stored = to_stored(kind, obj)
    assert from_stored(kind, stored, 3).metadata.resource_version == "3"
    assert to_stored(kind, from_stored(kind, stored, 3)) == stored
    with pytest.raises(BadRequest):
        kind.codec.typed({**value, "metadata": {"name": 1}}, "Bell")


def test_keys_below_a_group_lead_to_their_kind() -> None:
    kind = open_kind(Schema("struct", _fields={}))
    registry = Registry((*KINDS, kind))
    assert registry.at_key("/registry/example.com/b/ns/x") == (kind, "ns/x")
    assert registry.at_key("/registry/minions/w1") == (kind_of(Node), "w1")
    assert registry.at_key("/registry/ranges/serviceips") is None


class _Seen(Part, frozen=True):
    tones: tuple[str, ...] = ()


def test_a_changed_declaration_selects_by_other_fields() -> None:
    cache = ResourceCache(NEW)
    bell = New(metadata=ObjectMeta(name="b", namespace="ns"), tones=("deep",))
    cache.replace([("ns/b", to_stored(NEW, bell), 4)], 4)
    fields = Fields(_Seen, lambda seen: {"tones": ",".join(seen.tones)})
    cache.redeclare(Kind(resource=NEW.resource, fields=fields))
    (entry,) = cache.select(Selection())
    assert entry.fields["tones"] == "deep" and entry.revision == 4


def test_definitions_may_be_larger_than_anything_else() -> None:
    plain, definitions = kind_of(ConfigMap), kind_of(CustomResourceDefinition)
    assert most_values("application/json", plain) == limits.MAX_VALUES
    assert most_values(APPLY_PATCH, plain) == limits.MAX_MERGED_VALUES
    assert most_values(APPLY_PATCH, definitions) == definitions.max_values > limits.MAX_VALUES


def test_a_kind_is_compared_by_identity() -> None:
    assert Kind(resource=kind_of(Pod).resource) != kind_of(Pod)
    assert len({NEW, OLD, kind_of(Pod)}) == 3


def test_replaced_metadata_leaves_the_content() -> None:
    obj = OpenObject(kind="Bell", metadata=ObjectMeta(name="a"), content={"x": 1})
    assert replace(obj, metadata=ObjectMeta(name="b")).content == {"x": 1}
