"""No parser and no patch holds the api-server's loop, whatever it is given.

Measured inside the process (loopwatch.py), in yardsticks of about a millisecond: fifty are the
limit, and each attack is a body of the largest size that is taken, shaped to be slow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.component.apiserver_harness import Cluster, cluster
from tests.component.pki_fixture import Pki
from tests.security import bad_inputs as bad
from tests.security.bad_inputs import Row, encoded, message, protobuf
from tests.security.loopwatch import WatchedLoop, watched
from tests.security.test_bad_input import prepare, send

LIMIT = 50.0
SIZE = 3 * 512 * 1024 - 4096


@dataclass
class World:
    cluster: Cluster
    pki: Pki
    loop: WatchedLoop

    def send(self, row: Row) -> tuple[int, str]:
        return send(self.cluster.server, self.pki, row)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[World]:
    directory: Path = tmp_path_factory.mktemp("loop")
    with watched(directory / "watch") as watch, cluster("etcd", directory, pki) as made:
        prepare(made)
        assert made.server.process is not None
        yield World(made, pki, watch.of(made.server.process.pid))


def _yaml(text: str) -> Row:
    return bad.raw("loop", "yaml", text.encode()[:SIZE], 0, "", bad.YAML)


def _json(value: Any, path: str = bad.MAPS) -> Row:
    return bad.post("loop", "json", path, value, 0, "")


def _patch(media: str, value: Any, path: str = f"{bad.MAPS}/base") -> Row:
    return bad.patch("loop", "patch", media, value, 0, "", path)


def _keys(count: int, value: Any = "v") -> dict[str, Any]:
    return {f"k{n}": value for n in range(count)}


def _containers(count: int) -> list[dict[str, str]]:
    return [{"name": f"c{n}", "image": "x"} for n in range(count)]


MOST = 19_000  # about as many values as are taken
FEW = MOST // 4
INSERTS = [{"op": "add", "path": "/data/list", "value": []}] + [
    {"op": "add", "path": "/data/list/0", "value": 1} for _ in range(9_990)
]
ATTACKS: dict[str, Row] = {
    "YAML alias bomb": _yaml(bad.alias_bomb().decode()),
    "YAML list": _yaml("- a\n" * (SIZE // 4)),
    "YAML of as many values as are taken": _yaml(
        "metadata: {name: bad}\ndata:\n" + "".join(f"  k{n}: v\n" for n in range(MOST))
    ),
    "YAML deep": _yaml("[" * SIZE),
    "YAML one line of words": _yaml("a: " + "x " * (SIZE // 2)),
    "YAML block": _yaml("a: |\n" + " x\n" * (SIZE // 3)),
    "YAML comments": _yaml("#\n" * (SIZE // 2)),
    "YAML anchors": _yaml("".join(f"- &a{n} x\n" for n in range(SIZE // 12))),
    "JSON list": bad.raw("loop", "json", b"[" + b"1," * (SIZE // 2 - 2) + b"1]", 0, ""),
    "JSON of empty texts": bad.raw("loop", "json", b"[" + b'"",' * (SIZE // 3 - 2) + b'""]', 0, ""),
    "JSON of commas in a text": _json(bad.config_map(data={"a": "," * (SIZE // 2)})),
    "JSON of as many values as are taken": _json(bad.config_map(data=_keys(MOST))),
    "JSON unknown fields": _json(bad.config_map(**_keys(MOST))),
    "JSON keys that are none": _json(bad.config_map(data={f"k{n}/": "" for n in range(MOST)})),
    "JSON containers": _json(bad.pod(containers=_containers(FEW)), bad.PODS),
    "JSON empty containers": _json(bad.pod(containers=[{}] * MOST), bad.PODS),
    "JSON volumes": _json(
        bad.pod(volumes=[{"name": f"v{n}", "emptyDir": {}} for n in range(FEW)]), bad.PODS
    ),
    "JSON environment": _json(
        bad.with_container(env=[{"name": f"E{n}", "value": "x"} for n in range(FEW)]), bad.PODS
    ),
    "JSON tolerations": _json(
        bad.pod(tolerations=[{"key": f"k{n}", "operator": "Exists"} for n in range(FEW)]), bad.PODS
    ),
    "JSON labels": _json(bad.config_map(metadata={"name": "bad", "labels": _keys(MOST, "x" * 70)})),
    "JSON addresses": _json(
        bad.endpoints("10.0.0.1")
        | {"subsets": [{"addresses": [{"ip": f"10.0.{n // 250}.{n % 250}"} for n in range(FEW)]}]},
        f"{bad.CORE}/endpoints",
    ),
    "protobuf": Row(
        "loop", "protobuf", "POST", bad.PODS,
        protobuf("v1", "Pod", message(2, message(2, message(1, b"a") + message(2, b"b")) * 6_000)),
        bad.PROTOBUF, 0, "",
    ),
    "JSON patch copies": _patch(bad.JSON_PATCH, bad.doubling(40)),
    "JSON patch inserts": _patch(bad.JSON_PATCH, INSERTS),
    "JSON patch tests": _patch(
        bad.JSON_PATCH, [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_000
    ),
    "merge patch": _patch(bad.MERGE, {"data": _keys(MOST)}),
    "strategic patch of a keyed list": _patch(
        bad.STRATEGIC,
        {"spec": {"template": {"spec": {"containers": _containers(FEW // 2)}}}},
        f"{bad.DEPLOYMENTS}/web",
    ),
    "apply of a keyed list": _patch(
        bad.APPLY,
        {"spec": {"template": {"spec": {"containers": _containers(FEW // 2)}}}},
        f"{bad.DEPLOYMENTS}/web",
    ),
    "apply of a map": _patch(bad.APPLY, {"data": _keys(MOST // 2 - 100)}),
    "selector": bad.ask("", f"{bad.MAPS}?labelSelector={'a,' * 3_000}", 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_holds_the_loop(world: World, attack: str) -> None:
    with world.loop.during() as seen:
        code, text = world.send(ATTACKS[attack])
    assert code < 500, text[:500]
    assert seen.turns > 0
    assert seen.longest < LIMIT, (
        f"{seen.longest:.0f} of {seen.total:.0f} in one piece: {text[:200]}"
    )


def test_who_may_nothing_has_nothing_parsed(world: World) -> None:
    """A body that cannot be parsed is never looked at: the answer is of the caller's rights."""
    config = world.cluster.kubeconfig(world.cluster.server, "nobody")
    assert config.exists()
    tls = world.pki.issue("nobody")
    for media, body in ((bad.JSON, b"{"), (bad.YAML, bad.alias_bomb()), (bad.PROTOBUF, b"x")):
        row = Row("loop", "nobody", "POST", bad.MAPS, body, media, 403, "")
        code, text = send(world.cluster.server, world.pki, row, tls)
        assert code == 403, text
        assert 'User "nobody" cannot create resource "configmaps"' in text
    for media in (bad.JSON_PATCH, bad.APPLY):
        row = Row("loop", "nobody", "PATCH", f"{bad.MAPS}/base", b"{", media, 403, "")
        assert send(world.cluster.server, world.pki, row, tls)[0] == 403
    row = Row("loop", "nobody", "DELETE", bad.MAPS, b"{", bad.JSON, 403, "")
    assert send(world.cluster.server, world.pki, row, tls)[0] == 403


def test_deleting_a_collection_serves_others_and_keeps_its_bound(world: World) -> None:
    """All go, no turn of the loop holds all of them, and selectors are obeyed."""
    for wave in range(4):
        items = [
            bad.config_map(metadata={"name": f"many{wave}-{n}", "labels": {"many": "yes"}})
            for n in range(100)
        ]
        world.cluster.kubectl("create", "-f", "-", stdin=json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": items}))  # fmt: skip
    selected = f"{bad.MAPS}?labelSelector=many%3Dyes"
    with world.loop.during() as seen:
        code, text = world.send(Row("loop", "", "DELETE", selected, b"", bad.JSON, 200, ""))
    assert code == 200, text[:300]
    left = world.send(Row("loop", "", "GET", selected, b"", bad.JSON, 200, ""))
    assert '"items":[]' in left[1]
    assert world.send(Row("loop", "", "GET", f"{bad.MAPS}/base", b"", bad.JSON, 200, ""))[0] == 200
    assert seen.longest < LIMIT
    assert seen.share < 0.2


def test_a_large_honest_object_is_still_taken(world: World) -> None:
    """What people store: a megabyte in one value, a thousand endpoints, ten thousand lines."""
    big = bad.config_map(metadata={"name": "big"}, data={"a": "x" * 1_000_000})
    assert world.send(_json(big))[0] == 201
    endpoints = [
        {
            "addresses": [f"10.1.{n // 250}.{n % 250}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "w1", "zone": "a",
            "targetRef": {"kind": "Pod", "name": f"p{n}", "namespace": "default", "uid": f"u{n}"},
        }
        for n in range(1000)
    ]  # fmt: skip
    slice_ = bad.endpoint_slice("10.0.0.1") | {"metadata": {"name": "big"}, "endpoints": endpoints}
    with world.loop.during() as seen:
        code, text = world.send(_json(slice_, bad.SLICES))
    assert code == 201, text[:300]
    assert seen.longest < LIMIT
    lines = "metadata: {name: lines}\ndata:\n  a: |\n" + "    x: [y, z]\n" * 10_000
    assert world.send(_yaml(lines))[0] == 201
    assert encoded(slice_)
