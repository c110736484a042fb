"""kubectl's checks against the published API documents."""

from __future__ import annotations

import json
import re
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


def test_explain_prints_what_is_published_in_words(lab: Cluster) -> None:
    text = " ".join(lab.kubectl("explain", "pod.spec").stdout.split())
    assert "DESCRIPTION: Specification of the desired behavior of the pod." in text
    assert "containers <[]Container> -required- List of containers belonging to the pod." in text
    divisor = lab.kubectl("explain", "pod.spec.volumes.emptyDir.sizeLimit").stdout
    assert "FIELD: sizeLimit <Quantity>" in divisor


def test_numbers_are_amounts_where_upstream_takes_them(lab: Cluster) -> None:
    env = {"name": "x", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": 1}}}
    spec = {
        "containers": [{"name": "a", "image": "a", "env": [env]}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1000000}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "numbers"}, "spec": spec}
    lab.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    found = lab.kubectl("get", "pod", "numbers", "-o", "jsonpath={.spec.volumes[0].emptyDir}")
    assert json.loads(found.stdout) == {"sizeLimit": "1000000"}


def test_constraints_of_one_topology_key_are_two_for_apply(lab: Cluster) -> None:
    def deployment(skew: int) -> str:
        spread = [
            {"topologyKey": "zone", "maxSkew": max_skew, "whenUnsatisfiable": when,
             "labelSelector": {"matchLabels": {"a": "b"}}}
            for max_skew, when in ((1, "DoNotSchedule"), (skew, "ScheduleAnyway"))
        ]  # fmt: skip
        pod = {"containers": [{"name": "a", "image": "a"}], "topologySpreadConstraints": spread}
        labels = {"a": "b"}
        spec = {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "spread"}}
        return json.dumps({**head, "spec": spec})

    for skew in (2, 3):
        lab.kubectl("apply", "--server-side", "-f", "-", stdin=deployment(skew))
        path = "jsonpath={.spec.template.spec.topologySpreadConstraints[*].maxSkew}"
        assert lab.kubectl("get", "deployment", "spread", "-o", path).stdout == f"1 {skew}"


def test_documents_say_what_is_published_and_refer_to_what_they_hold(lab: Cluster) -> None:
    document = json.loads(lab.kubectl("get", "--raw", "/openapi/v3/apis/apps/v1").stdout)
    schemas = document["components"]["schemas"]
    spec = schemas["io.k8s.api.apps.v1.DeploymentSpec"]
    assert spec["required"] == ["selector", "template"]
    assert spec["properties"]["strategy"]["x-kubernetes-patch-strategy"] == "retainKeys"
    assert spec["properties"]["replicas"]["format"] == "int32"
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= schemas.keys()
