"""The owner graph and its verdicts, and what a going namespace reports."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import Namespace, NamespaceStatus, Pod, ServiceAccount
from kube.api.meta import ObjectMeta, OwnerReference
from kube.machinery.scheme import resource_for
from master.controllers.lifecycle.namespace import conditions
from master.controllers.lifecycle.ownergraph import (
    FOREGROUND,
    ORPHAN,
    Item,
    OwnerGraph,
    Verdict,
    judge,
)
from master.controllers.lifecycle.serviceaccount import needed

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def item(uid: str, *owners: str, block: bool = True, finalizers: tuple[str, ...] = ()) -> Item:
    refs = tuple(OwnerReference(uid=o, name=o, block_owner_deletion=block) for o in owners)
    return Item(resource_for(Pod), "ns", uid, uid, refs, bool(finalizers), finalizers)


def test_an_object_stays_while_one_owner_does() -> None:
    two = item("c", "a", "b")
    assert judge(two, frozenset({"a"}), frozenset(), False) == Verdict(drop=("a",))
    assert judge(two, frozenset({"a", "b"}), frozenset(), False) == Verdict(policy="Background")


def test_an_object_with_dependents_of_a_waiting_owner_waits_itself() -> None:
    child = item("c", "a")
    assert judge(child, frozenset(), frozenset({"a"}), True).policy == "Foreground"
    assert judge(child, frozenset(), frozenset({"a"}), False).policy == "Background"


def test_finalizers_decide_how_an_orphaned_object_goes() -> None:
    gone = frozenset({"a"})
    assert judge(item("c", "a", finalizers=(ORPHAN,)), gone, frozenset(), False).policy == "Orphan"
    foreground = item("c", "a", finalizers=(FOREGROUND,))
    assert judge(foreground, gone, frozenset(), False).policy == "Foreground"


def test_only_blocking_dependents_hold_their_owner() -> None:
    graph = OwnerGraph()
    graph.put(item("b", "a"))
    graph.put(item("c", "a", block=False))
    assert [i.uid for i in graph.dependents("a")] == ["b", "c"]
    assert [i.uid for i in graph.blocking_dependents("a")] == ["b"]


names = st.sampled_from("abcde")


@given(st.lists(st.tuples(names, st.sets(names, max_size=3), st.booleans()), max_size=30))
def test_the_graph_knows_the_dependents_that_the_objects_name(
    steps: list[tuple[str, set[str], bool]],
) -> None:
    graph, model = OwnerGraph(), dict[str, set[str]]()
    for uid, owners, put in steps:
        if put:
            graph.put(item(uid, *sorted(owners)))
            model[uid] = owners
        else:
            graph.drop(uid)
            model.pop(uid, None)
        for owner in "abcde":
            expected = {child for child, refs in model.items() if owner in refs}
            assert {i.uid for i in graph.dependents(owner)} == expected


def test_a_going_namespace_says_what_is_left_and_who_holds_it() -> None:
    found = conditions((), {"pods.": 2}, {"example.com/hold": 1}, "", NOW)
    by_type = {c.type: (c.status, c.reason, c.message) for c in found}
    assert by_type["NamespaceContentRemaining"] == (
        "True", "SomeResourcesRemain",
        "Some resources are remaining: pods. has 2 resource instances",
    )  # fmt: skip
    assert "example.com/hold in 1 resource instances" in by_type["NamespaceFinalizersRemaining"][2]
    assert by_type["NamespaceDeletionContentFailure"][0] == "False"
    later = datetime(2026, 1, 3, tzinfo=UTC)
    assert conditions(found, {"pods.": 2}, {"example.com/hold": 1}, "", later) == found


def test_default_accounts_are_for_namespaces_that_stay() -> None:
    stays = Namespace(metadata=ObjectMeta(name="a"), status=NamespaceStatus(phase="Active"))
    goes = Namespace(metadata=ObjectMeta(name="a"), status=NamespaceStatus(phase="Terminating"))
    assert needed(stays, None)
    assert not needed(stays, ServiceAccount())
    assert not needed(goes, None)
    assert not needed(None, None)
