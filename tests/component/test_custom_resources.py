"""CustomResourceDefinitions: kinds that users bring, through stock kubectl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from kube.api.meta import ObjectMeta
from kube.api.object import OpenObject
from kube.client.client import Client
from kube.machinery.scheme import Resource
from tests.component.apiserver_harness import STORES, Cluster, cluster
from tests.component.kvstore_harness import wait_until
from tests.component.pki_fixture import Pki

CRONTABS = "crontabs.stable.example.com"
SPEC = {
    "type": "object",
    "description": "What is wanted of a CronTab.",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {
            "type": "string",
            "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$",
            "description": "When it runs.",
        },
        "image": {"type": "string", "default": "busybox"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 2},
        "port": {"x-kubernetes-int-or-string": True},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "mode": {"type": "string", "enum": ["Fast", "Slow"]},
        "hooks": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "retries": {"type": "integer", "default": 3},
                },
            },
        },
    },
}
STATUS = {
    "type": "object",
    "properties": {"replicas": {"type": "integer"}, "labelSelector": {"type": "string"}},
}


def definition(**changes: Any) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}
        },
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.labelSelector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "selectableFields": [{"jsonPath": ".spec.image"}],
    }
    spec = {
        "group": "stable.example.com",
        "scope": "Namespaced",
        "names": {
            "plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"],
            "categories": ["all"],
        },
        "versions": [version, {**version, "name": "v1beta1", "storage": False}],
        **changes,
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{spec['names']['plural']}.{spec['group']}"},
        "spec": spec,
    }


def crontab(name: str = "mine", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "* * * * */5", **spec},
    }


def send(lab: Cluster, verb: str, obj: dict[str, Any], *how: str, check: bool = True) -> str:
    done = lab.kubectl(verb, "-f", "-", *how, stdin=yaml.safe_dump(obj), check=check)
    return done.stdout + done.stderr


def establish(lab: Cluster, crd: dict[str, Any]) -> None:
    send(lab, "apply", crd)
    name = crd["metadata"]["name"]
    lab.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")


@pytest.fixture(params=STORES)
def lab(
    tmp_path_factory: pytest.TempPathFactory, pki: Pki, request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    with cluster(request.param, tmp_path_factory.mktemp("crds"), pki) as running:
        yield running


def test_a_definition_makes_a_kind(lab: Cluster) -> None:
    establish(lab, definition())
    listed = lab.kubectl("api-resources", "--api-group=stable.example.com", "--no-headers").stdout
    assert listed.split() == ["crontabs", "ct", "stable.example.com/v1", "true", "CronTab"]

    send(lab, "create", crontab(hooks=[{"name": "a"}], port="http"))
    made = lab.get("ct", "mine")
    assert made["spec"] == {
        "cronSpec": "* * * * */5", "image": "busybox", "replicas": 2, "port": "http",
        "hooks": [{"name": "a", "retries": 3}],
    }  # fmt: skip
    assert made["metadata"]["generation"] == 1
    header, row = lab.kubectl("get", "crontab").stdout.splitlines()
    assert header.split() == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert row.split()[0] == "mine" and row.split()[-2] == "2"
    assert "mine" in lab.kubectl("get", "all").stdout
    chosen = lab.kubectl("get", "ct", "--field-selector=spec.image=busybox", "-o", "name").stdout
    assert chosen.split() == ["crontab.stable.example.com/mine"]

    explained = " ".join(lab.kubectl("explain", "crontab.spec").stdout.split())
    assert "cronSpec <string> -required- When it runs." in explained
    assert "What is wanted of a CronTab." in explained


def test_the_schema_is_enforced_in_upstreams_words(lab: Cluster) -> None:
    establish(lab, definition())
    said = send(lab, "create", crontab(cronSpec="* *", replicas=20, mode="Idle"), check=False)
    for text in (
        'spec.cronSpec: Invalid value: "* *": spec.cronSpec in body should match '
        r"'^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'",
        "spec.replicas: Invalid value: 20: "
        "spec.replicas in body should be less than or equal to 10",
        'spec.mode: Unsupported value: "Idle": supported values: "Fast", "Slow"',
    ):
        assert text in said
    said = send(lab, "create", crontab(replicas="two"), check=False)
    assert 'spec.replicas in body must be of type integer: "string"' in said
    said = send(lab, "create", crontab(hooks=[{"name": "a"}, {"name": "a"}]), check=False)
    assert 'spec.hooks[1]: Duplicate value: {"name": "a"}' in said
    said = send(lab, "create", crontab(unheard="of"), check=False)
    assert 'unknown field "spec.unheard"' in said
    # What nobody is told of is pruned, but for what the schema leaves open.
    given = crontab(unheard="of", open={"any": {"thing": [1]}})
    send(lab, "create", given, "--validate=ignore")
    spec = lab.get("ct", "mine")["spec"]
    assert "unheard" not in spec and spec["open"] == {"any": {"thing": [1]}}


def test_status_and_scale_are_endpoints_of_their_own(lab: Cluster) -> None:
    establish(lab, definition())
    send(lab, "create", {**crontab(), "status": {"replicas": 9}})
    assert "status" not in lab.get("ct", "mine")
    patch = json.dumps({"spec": {"image": "x"}, "status": {"replicas": 1, "labelSelector": "a=b"}})
    lab.kubectl("patch", "ct", "mine", "--type=merge", "--subresource=status", "-p", patch)
    found = lab.get("ct", "mine")
    assert found["status"]["replicas"] == 1 and found["spec"]["image"] == "busybox"
    assert found["metadata"]["generation"] == 1
    lab.kubectl("patch", "ct", "mine", "--type=merge", "-p", '{"status": {"replicas": 5}}')
    assert lab.get("ct", "mine")["status"]["replicas"] == 1
    lab.kubectl("scale", "ct/mine", "--replicas=4")
    scale = json.loads(
        lab.kubectl(
            "get", "--raw",
            "/apis/stable.example.com/v1/namespaces/default/crontabs/mine/scale",
        ).stdout
    )  # fmt: skip
    assert scale["spec"] == {"replicas": 4}
    assert scale["status"] == {"replicas": 1, "selector": "a=b"}
    said = lab.kubectl("scale", "ct/mine", "--replicas=40", check=False).stderr
    assert "less than or equal to 10" in said


def test_patches_and_apply_follow_the_schema(lab: Cluster) -> None:
    establish(lab, definition())
    send(lab, "apply", crontab(hooks=[{"name": "a"}]))
    send(lab, "apply", crontab(hooks=[{"name": "a", "retries": 1}]))
    assert lab.get("ct", "mine")["spec"]["hooks"] == [{"name": "a", "retries": 1}]
    other = crontab(hooks=[{"name": "b"}])
    send(lab, "apply", other, "--server-side", "--field-manager=other")
    assert [h["name"] for h in lab.get("ct", "mine")["spec"]["hooks"]] == ["a", "b"]
    lab.kubectl("patch", "ct", "mine", "--type=json",
                "-p", '[{"op": "replace", "path": "/spec/image", "value": "y"}]')  # fmt: skip
    assert lab.get("ct", "mine")["spec"]["image"] == "y"
    said = lab.kubectl("patch", "ct", "mine", "--type=strategic", "-p", "{}", check=False).stderr
    assert "the body of the request was in an unknown format" in said
    lab.kubectl("annotate", "ct", "mine", "x=y")
    lab.kubectl("label", "ct", "mine", "x=y")


def test_versions_share_their_objects(lab: Cluster) -> None:
    establish(lab, definition())
    send(lab, "create", {**crontab(), "apiVersion": "stable.example.com/v1beta1"})
    assert lab.get("ct", "mine")["apiVersion"] == "stable.example.com/v1"
    older = lab.get("crontabs.v1beta1.stable.example.com", "mine")
    assert older["apiVersion"] == "stable.example.com/v1beta1"
    lab.kubectl("delete", "crontabs.v1beta1.stable.example.com", "mine")
    assert lab.get("ct")["items"] == []


def test_instances_go_with_their_definition(lab: Cluster) -> None:
    establish(lab, definition())
    send(lab, "create", {**crontab("held"), "metadata": {"name": "held", "finalizers": ["a/b"]}})
    send(lab, "create", crontab("free"))
    lab.kubectl("delete", "crd", CRONTABS, "--wait=false")

    def left() -> list[str]:
        return [item["metadata"]["name"] for item in lab.get("ct")["items"]]

    wait_until(lambda: left() == ["held"], 30, "the other instance gone")
    said = send(lab, "create", crontab("late"), check=False)
    assert "create not allowed while custom resource definition is terminating" in said
    lab.kubectl("patch", "ct", "held", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    lab.kubectl("wait", "--for=delete", f"crd/{CRONTABS}", "--timeout=30s")
    assert lab.kubectl("get", "ct", check=False).returncode != 0
    establish(lab, definition())
    assert lab.get("ct")["items"] == []


def test_definitions_survive_a_restart_and_change_in_place(lab: Cluster) -> None:
    establish(lab, definition())
    send(lab, "create", crontab())
    lab.server.stop()
    lab.server.start()
    wait_until(lambda: lab.ready(lab.server), 60, "ready again")
    assert lab.get("ct", "mine")["spec"]["image"] == "busybox"
    changed = definition()
    for version in changed["spec"]["versions"]:
        properties = {**SPEC["properties"], "added": {"type": "string", "default": "z"}}
        whole = version["schema"]["openAPIV3Schema"]
        whole["properties"]["spec"] = {**SPEC, "properties": properties}
    send(lab, "apply", changed)

    def takes() -> bool:
        done = send(lab, "apply", crontab("second", added="w"), check=False)
        return "unknown field" not in done

    wait_until(takes, 30, "the new field known")
    assert lab.get("ct", "second")["spec"]["added"] == "w"


def test_names_that_are_taken_are_not_accepted(lab: Cluster) -> None:
    establish(lab, definition())
    names = {"plural": "apples", "singular": "apple", "kind": "Apple", "shortNames": ["ct"]}
    send(lab, "create", definition(names=names))
    lab.kubectl(
        "wait", "--for=condition=NamesAccepted=false", "crd/apples.stable.example.com",
        "--timeout=30s",
    )  # fmt: skip
    # Not even when it is looked at first.
    lab.server.stop()
    lab.server.start()
    wait_until(lambda: lab.ready(lab.server), 60, "ready again")
    assert lab.kubectl("get", "apples", check=False).returncode != 0
    assert lab.get("ct")["kind"] == "List"
    found = lab.get("crd", "apples.stable.example.com")["status"]["conditions"]
    (accepted,) = [c for c in found if c["type"] == "NamesAccepted"]
    assert accepted["reason"] == "ShortNamesConflict"
    assert accepted["message"] == '"ct" is already in use'


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"scope": "World"}, "spec.scope: Unsupported value"),
        ({"group": "stable"}, "should be a domain with at least one dot"),
        ({"versions": []}, "must have exactly one version marked as storage version"),
        ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.strategy: Unsupported value"),
    ],
)
def test_what_makes_no_sense_is_refused(lab: Cluster, changes: dict[str, Any], text: str) -> None:
    assert text in send(lab, "create", definition(**changes), check=False)


def test_a_schema_must_be_structural(lab: Cluster) -> None:
    loose = definition()
    properties = {"a": {"description": "of no type"}, "b": {"type": "string", "pattern": "("}}
    for version in loose["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] = {
            "type": "object", "properties": properties,
        }  # fmt: skip
    said = send(lab, "create", loose, check=False)
    assert (
        "properties[a].type: Required value: must not be empty for specified object fields" in said
    )
    assert "must be a valid regular expression" in said


async def test_our_own_client_reads_and_writes_them(lab: Cluster) -> None:
    establish(lab, definition())
    row = Resource("stable.example.com", "v1", "CronTab", "crontabs", OpenObject, "crontab")
    config = lab.kubeconfig(lab.server, "kubernetes-admin", "kubeadm:cluster-admins")
    async with Client.connect([lab.server.grpc_address], config) as client:
        obj = OpenObject(
            api_version=row.api_version, kind=row.kind, content={"spec": {"cronSpec": "1 2 3 4 5"}}
        )
        obj = replace(obj, metadata=ObjectMeta(name="ours", namespace="default"))
        made = await client.create(obj, resource=row)
        assert made.content["spec"]["replicas"] == 2
        spec = {**made.content["spec"], "replicas": 3}
        await client.update(replace(made, content={"spec": spec}), resource=row)
        listed = await client.list(OpenObject, "default", resource=row)
        assert [item.content["spec"]["replicas"] for item in listed.items] == [3]
