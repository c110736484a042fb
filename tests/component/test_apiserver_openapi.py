"""kubectl's checks against the published API documents."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.component.apiserver_harness import Cluster, cluster
from tests.component.pki_fixture import Pki


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("etcd", tmp_path_factory.mktemp("openapi"), pki) as running:
        yield running


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_a_manifest_of_kind_list_is_applied_item_by_item(lab: Cluster) -> None:
    items = [config_map("listed-1"), config_map("listed-2")]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = lab.kubectl("apply", "-f", "-", stdin=manifest)
    assert done.stdout.splitlines() == [
        "configmap/listed-1 created",
        "configmap/listed-2 created",
    ]


def test_an_unknown_field_is_refused_with_its_path(lab: Cluster) -> None:
    manifest = json.dumps(config_map("strict") | {"dta": {}})
    done = lab.kubectl("apply", "-f", "-", stdin=manifest, check=False)
    assert done.returncode == 1
    assert 'unknown field "dta"' in done.stderr


def test_explain_reads_the_schema(lab: Cluster) -> None:
    text = lab.kubectl("explain", "pod.spec.containers.livenessProbe").stdout
    assert "KIND:       Pod" in text
    assert "initialDelaySeconds" in text
