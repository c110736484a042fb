"""The watch cache without I/O: windows, selections, watchers; and who may do what."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import (
    ConfigMap,
    ConfigMapVolumeSource,
    Container,
    EnvFromSource,
    Pod,
    PodSpec,
    SecretEnvSource,
    Volume,
)
from kube.api.meta import ObjectMeta
from kube.machinery.errors import BadRequest
from kube.machinery.selectors import parse_fields, parse_labels
from master.apiserver.authz.node import Graph, authorize_node
from master.apiserver.authz.rules import Attributes
from master.apiserver.cache.entry import Selection
from master.apiserver.cache.resource import LOOK_EVERY, ResourceCache
from master.apiserver.cache.watcher import Watcher, WatcherClosed
from master.apiserver.cache.window import CAPACITY, LEAST, Window
from master.apiserver.etcd3.store import prefix_end
from master.apiserver.kinds.catalog import kind_of
from master.apiserver.registry.reader import decode_token, encode_token, selection_of

MAPS, PODS = kind_of(ConfigMap), kind_of(Pod)


def stored(name: str, labels: str = "{}", rest: str = "") -> bytes:
    return (
        f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}",'
        f'"namespace":"ns","labels":{labels}}}{rest}}}'
    ).encode()


def cache_with(*names: str) -> ResourceCache:
    cache = ResourceCache(MAPS)
    cache.replace([(f"ns/{n}", stored(n), i + 1) for i, n in enumerate(names)], len(names))
    return cache


async def drain(watcher: Watcher) -> list[tuple[str, str, int]]:
    return [(t, e.name, e.revision) for t, e in await watcher.next_batch(0)]


async def test_watchers_see_changes_in_order_with_their_revisions() -> None:
    cache = cache_with("a")
    watcher = Watcher(Selection())
    cache.add_watcher(watcher)
    cache.put("ns/b", stored("b"), 5)
    cache.put("ns/b", stored("b"), 6)
    cache.delete("ns/b", 7)
    assert await drain(watcher) == [("ADDED", "b", 5), ("MODIFIED", "b", 6), ("DELETED", "b", 7)]
    cache.remove_watcher(watcher)
    cache.put("ns/c", stored("c"), 8)
    assert await drain(watcher) == []


async def test_beginning_and_ceasing_to_match_read_as_added_and_deleted() -> None:
    cache = cache_with()
    watcher = Watcher(Selection(labels=parse_labels("w=1")))
    cache.add_watcher(watcher)
    for revision, labels in enumerate(('{"w":"0"}', '{"w":"1"}', '{"w":"1"}', "{}", "{}"), 1):
        cache.put("ns/a", stored("a", labels), revision)
    assert await drain(watcher) == [("ADDED", "a", 2), ("MODIFIED", "a", 3), ("DELETED", "a", 4)]


async def test_a_watcher_of_one_name_hears_only_of_that() -> None:
    cache = cache_with()
    watcher = Watcher(Selection(fields=parse_fields("metadata.name=b")))
    cache.add_watcher(watcher)
    assert cache.watchers == 1
    cache.put("ns/a", stored("a"), 1)
    cache.put("ns/b", stored("b"), 2)
    assert await drain(watcher) == [("ADDED", "b", 2)]
    cache.remove_watcher(watcher)
    assert cache.watchers == 0


async def test_a_pod_that_is_bound_appears_to_its_node() -> None:
    cache = ResourceCache(PODS)
    mine = Watcher(Selection(fields=parse_fields("spec.nodeName=w1")))
    unbound = Watcher(Selection(fields=parse_fields("spec.nodeName=")))
    for watcher in (mine, unbound):
        cache.add_watcher(watcher)
    cache.put("ns/a", stored("a"), 1)
    cache.put("ns/a", stored("a", rest=',"spec":{"nodeName":"w1"}'), 2)
    assert await drain(mine) == [("ADDED", "a", 2)]
    assert await drain(unbound) == [("ADDED", "a", 1), ("DELETED", "a", 2)]


async def test_a_slow_watcher_is_cut_off_and_a_lost_history_expires() -> None:
    cache = cache_with()
    slow = Watcher(Selection())
    cache.add_watcher(slow)
    for revision in range(CAPACITY + 2 * LOOK_EVERY):
        cache.put("ns/a", stored("a"), revision + 1)
    got = 0
    with pytest.raises(WatcherClosed) as closed:
        while True:
            got += len(await slow.next_batch(0))
    assert CAPACITY <= got <= CAPACITY + LOOK_EVERY and not closed.value.expired
    fresh = Watcher(Selection())
    cache.add_watcher(fresh)
    cache.replace([], 99_999)
    with pytest.raises(WatcherClosed) as closed:
        await fresh.next_batch(0)
    assert closed.value.expired


async def test_who_does_not_read_is_cut_when_the_window_forgets_what_it_holds() -> None:
    """Whether it holds the state that it began with, or events; who has read all of it stays."""
    cache = cache_with()
    cache.window = Window(horizon=0, capacity=2 * LOOK_EVERY)
    for revision in (1, 2, 3):
        cache.put(f"ns/{revision}", stored(f"{revision}"), revision)
    cut: list[str] = []
    beginning = Watcher(Selection(), 3, tuple(cache.select(Selection())))
    busy, idle = Watcher(Selection(), 3), Watcher(Selection(), 3)
    for name, watcher in (("beginning", beginning), ("busy", busy), ("idle", idle)):
        watcher.cut = functools.partial(cut.append, name)
        cache.add_watcher(watcher)
    assert await beginning.next_batch(0)  # and never again
    for revision in range(4, 4 + 4 * LOOK_EVERY):
        cache.put("ns/1", stored("1"), revision)
        assert await idle.next_batch(0)
        if revision == 4:
            assert await busy.next_batch(0)
    assert sorted(cut) == ["beginning", "busy"]
    with pytest.raises(WatcherClosed):
        await busy.next_batch(0)


def test_a_window_forgets_by_bytes_too() -> None:
    window = Window(horizon=0, max_bytes=1)
    cache = cache_with()
    cache.window = window
    for revision in range(1, LEAST + 11):
        cache.put("ns/a", stored("a"), revision)
    assert window.horizon == 10 and len(list(window.after(0))) == LEAST


def test_a_window_knows_what_it_has_forgotten() -> None:
    cache = cache_with()
    cache.window = Window(horizon=10, capacity=3)
    for revision in range(11, 16):
        cache.put("ns/a", stored("a"), revision)
    window = cache.window
    assert window.horizon == 12
    assert not window.covers(11)
    assert window.covers(12)
    assert [event.revision for event in window.after(13)] == [14, 15]
    assert list(window.after(15)) == []


def test_lists_are_in_key_order_and_by_namespace() -> None:
    cache = ResourceCache(MAPS)
    keys = ["b/x", "a-b/x", "a/z", "a/b"]
    cache.replace([(k, stored(k.partition("/")[2]), 1) for k in keys], 1)
    assert [e.key for e in cache.select(Selection())] == sorted(keys)
    assert [e.key for e in cache.select(Selection("a"))] == ["a/b", "a/z"]
    assert [e.key for e in cache.select(Selection("a"), after="a/b")] == ["a/z"]


def test_unreadable_values_are_left_out() -> None:
    cache = ResourceCache(MAPS)
    cache.replace([("ns/bad", b"\x0a\x00", 1), ("ns/a", stored("a"), 2)], 2)
    assert len(cache) == 1


def test_continue_tokens() -> None:
    assert decode_token(encode_token(7, "ns/a")) == (7, "ns/a")
    for bad in ("@@", "e30=", "x"):
        with pytest.raises(BadRequest):
            decode_token(bad)


def test_selectors_that_no_kind_supports_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"field label not supported: spec\.nodeName"):
        selection_of(MAPS, "", "", "spec.nodeName=w1")


def test_prefix_ends() -> None:
    assert prefix_end(b"/registry/pods/") == b"/registry/pods0"
    assert prefix_end(b"a\xff") == b"b"
    assert prefix_end(b"\xff") == b"\0"


# authorization


def node_may(verb: str, resource: str, **more: Any) -> bool:
    mine = Pod(
        metadata=ObjectMeta(name="mine", namespace="ns"),
        spec=PodSpec(
            containers=(
                Container(env_from=(EnvFromSource(secret_ref=SecretEnvSource(name="s")),)),
            ),
            volumes=(Volume(name="v", config_map=ConfigMapVolumeSource(name="cm")),),
        ),
    )
    asked = Attributes(verb, resource=resource, **more)
    graph = Graph(
        lambda namespace, name: "w1" if (namespace, name) == ("ns", "mine") else "",
        lambda node, namespace, _: [mine] if (node, namespace) == ("w1", "ns") else [],
    )
    return authorize_node("w1", asked, graph).allowed


def test_nodes_reach_their_own_pods_and_what_those_name() -> None:
    assert node_may("get", "secrets", namespace="ns", name="s")
    assert node_may("get", "configmaps", namespace="ns", name="cm")
    assert not node_may("get", "secrets", namespace="ns", name="other")
    assert not node_may("list", "secrets", namespace="ns")
    assert not node_may("update", "secrets", namespace="ns", name="s")
    assert node_may("watch", "pods", pinned=(("spec.nodeName", "w1"),))
    assert not node_may("watch", "pods")
    assert node_may("get", "pods", namespace="ns", name="mine")
    assert not node_may("get", "pods", namespace="ns", name="other")
    assert not node_may("create", "pods", subresource="binding", namespace="ns", name="mine")
    assert node_may("get", "nodes", name="w1")
    assert not node_may("get", "nodes", name="w2")
    lease = {"group": "coordination.k8s.io", "namespace": "kube-node-lease"}
    assert node_may("update", "leases", name="w1", **lease)
    assert not node_may("update", "leases", name="w2", **lease)


def stored_pod(name: str, node: str) -> bytes:
    return msgspec.json.encode(
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"nodeName": node},
        }
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.sampled_from(["", "n1", "n2", None])), max_size=30
    ),
    st.booleans(),
)
def test_the_pods_of_a_node_are_those_that_a_look_at_all_finds(
    steps: list[tuple[str, str | None]], replaced: bool
) -> None:
    cache = ResourceCache(PODS)
    truth: dict[str, str] = {}
    for revision, (name, node) in enumerate(steps, 1):
        if node is None:
            cache.delete(f"ns/{name}", revision)
            truth.pop(name, None)
        else:
            cache.put(f"ns/{name}", stored_pod(name, node), revision)
            truth[name] = node
    if replaced:
        kept = [(f"ns/{name}", stored_pod(name, node), 1) for name, node in sorted(truth.items())]
        cache.replace(kept, 99)
    for node in ("n1", "n2", "n3"):
        for namespace, after in (("", ""), ("ns", ""), ("other", ""), ("ns", "ns/b")):
            selection = selection_of(PODS, namespace, "", f"spec.nodeName={node}")
            found = [entry.name for entry in cache.select(selection, after)]
            names = [n for n in sorted(truth) if truth[n] == node and f"ns/{n}" > after]
            assert found == (names if namespace in ("", "ns") else [])
