"""Every kind that is served, with its published example: all verbs, by REST and by gRPC."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from kube.api.apiextensions import CustomResourceDefinition
from kube.client.client import Client
from kube.component.tls import client_context
from kube.machinery.scheme import ApiObject, Resource, decode
from master.apiserver.kinds.catalog import KINDS, AnyKind
from tests.component.apiserver_harness import Cluster, cluster
from tests.component.pki_fixture import Pki
from tests.kinds import BY_NAME, example_of, name_of

# Of definitions the server itself writes the status, and their names are not free
# (test_custom_resources.py).
LEFT_ALONE = [kind for kind in KINDS if kind.resource.type is not CustomResourceDefinition]
EVERY_KIND = pytest.mark.parametrize("kind", LEFT_ALONE, ids=name_of)
PATCHES: dict[str, tuple[str, Any]] = {
    "json": (
        "application/json-patch+json",
        [{"op": "add", "path": "/metadata/annotations", "value": {"by": "json"}}],
    ),
    "merge": ("application/merge-patch+json", {"metadata": {"annotations": {"by": "merge"}}}),
    "strategic": (
        "application/strategic-merge-patch+json",
        {"metadata": {"annotations": {"by": "strategic"}}},
    ),
}
PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").decode()
APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Cluster]:
    with cluster("kvstore", tmp_path_factory.mktemp("kinds"), pki) as running:
        yield running


@pytest.fixture
async def http(lab: Cluster, pki: Pki) -> AsyncIterator[aiohttp.ClientSession]:
    tls = client_context(pki.issue("kinds-admin", organizations=("system:masters",)))
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(lab.server.url, connector=connector) as made:
        yield made


@pytest.fixture
async def client(lab: Cluster) -> AsyncIterator[Client]:
    admin = lab.kubeconfig(lab.server, "kubernetes-admin", "kubeadm:cluster-admins")
    async with Client.connect([lab.server.grpc_address], admin) as made:
        yield made


def collection(resource: Resource) -> str:
    root = f"/apis/{resource.group}" if resource.group else "/api"
    namespace = "namespaces/default/" if resource.namespaced else ""
    return f"{root}/{resource.version}/{namespace}{resource.plural}"


async def call(
    http: aiohttp.ClientSession, method: str, path: str, body: Any = None, **more: Any
) -> dict[str, Any]:
    async with http.request(method, path, json=body, **more) as answer:
        value: dict[str, Any] = await answer.json()
        assert answer.status < 300, value
        return value


async def life(http: aiohttp.ClientSession, path: str, revision: str) -> list[str]:
    """The types of the events after a revision, until an object is gone."""
    seen: list[str] = []
    query = {"watch": "true", "resourceVersion": revision}
    async with http.get(path, params=query, timeout=aiohttp.ClientTimeout(total=60)) as answer:
        async for line in answer.content:
            seen.append(json.loads(line)["type"])
            if seen[-1] == "DELETED":
                break
    return seen


async def let_go(http: aiohttp.ClientSession, kind: AnyKind, path: str) -> None:
    """What a controller takes away from an object that is being deleted."""
    async with http.get(path) as answer:
        if answer.status == 404:
            return
        left = await answer.json()
    left["metadata"]["finalizers"] = []
    if kind.subresource("finalize"):
        await call(http, "PUT", f"{path}/finalize", {**left, "spec": {}})
    else:
        await call(http, "PUT", path, left)


@EVERY_KIND
async def test_every_verb_of_rest(http: aiohttp.ClientSession, kind: AnyKind) -> None:
    resource, example = kind.resource, example_of(kind.resource)
    path = collection(resource)
    name = example["metadata"]["name"]
    made = await call(http, "POST", path, example, params={"fieldValidation": "Strict"})
    assert (made["apiVersion"], made["kind"]) == (resource.api_version, resource.kind)
    read = await call(http, "GET", f"{path}/{name}")
    assert read == made
    listed = await call(http, "GET", path, params={"fieldSelector": f"metadata.name={name}"})
    assert listed["kind"] == f"{resource.kind}List"
    assert [item["metadata"]["uid"] for item in listed["items"]] == [made["metadata"]["uid"]]

    read["metadata"].setdefault("labels", {})["step"] = "updated"
    updated = await call(http, "PUT", f"{path}/{name}", read)
    assert updated["metadata"]["labels"]["step"] == "updated"
    # What is written back unchanged is unchanged.
    again = await call(http, "PUT", f"{path}/{name}", updated)
    assert again["metadata"]["resourceVersion"] == updated["metadata"]["resourceVersion"]
    assert again["metadata"].get("generation") == made["metadata"].get("generation")
    for by, (type_, patch) in PATCHES.items():
        headers = {"Content-Type": type_}
        patched = await call(http, "PATCH", f"{path}/{name}", patch, headers=headers)
        assert patched["metadata"]["annotations"]["by"] == by
    applied = await call(
        http, "PATCH", f"{path}/{name}",
        {**example, "metadata": {**example["metadata"], "labels": {"step": "applied"}}},
        headers={"Content-Type": APPLY}, params={"fieldManager": "test", "force": "true"},
    )  # fmt: skip
    assert applied["metadata"]["labels"]["step"] == "applied"
    assert any(m["manager"] == "test" for m in applied["metadata"]["managedFields"])

    await call(http, "DELETE", f"{path}/{name}")
    await let_go(http, kind, f"{path}/{name}")
    async with http.get(f"{path}/{name}") as answer:
        assert answer.status == 404
    wanted = ["ADDED", *["MODIFIED"] * 5]
    revision = str(int(made["metadata"]["resourceVersion"]) - 1)
    assert (await life(http, path, revision))[: len(wanted)] == wanted
    # Applied, it is there again.
    applied = await call(
        http, "PATCH", f"{path}/{name}", example,
        headers={"Content-Type": APPLY}, params={"fieldManager": "test"},
    )  # fmt: skip
    assert applied["metadata"]["uid"] != made["metadata"]["uid"]
    await call(http, "DELETE", f"{path}/{name}")
    await let_go(http, kind, f"{path}/{name}")


@EVERY_KIND
async def test_every_verb_of_grpc(
    http: aiohttp.ClientSession, client: Client, kind: AnyKind
) -> None:
    resource = kind.resource
    wanted = example_of(resource)
    wanted["metadata"]["generateName"] = wanted["metadata"].pop("name") + "-"
    if resource.namespaced:
        wanted["metadata"]["namespace"] = "default"
    if resource.kind in EXACT:
        wanted["metadata"]["name"] = wanted["metadata"].pop("generateName").rstrip("-")
    made: ApiObject = await client.create(decode(resource.type, json.dumps(wanted)))
    meta = made.metadata
    assert await client.get(resource.type, meta.name, meta.namespace) == made
    listed = await client.list(resource.type, meta.namespace)
    assert made in listed.items
    patched = await client.patch(
        resource.type, meta.name, {"metadata": {"labels": {"step": "patched"}}},
        meta.namespace,
    )  # fmt: skip
    assert patched.metadata.labels["step"] == "patched"
    updated = await client.update(patched)
    assert updated == patched
    async for event in client.watch(
        resource.type, meta.namespace, resource_version=str(int(meta.resource_version) - 1)
    ):
        assert (event.type, event.object) == ("ADDED", made)
        break
    await client.delete(resource.type, meta.name, meta.namespace)
    await let_go(http, kind, f"{collection(resource)}/{meta.name}")
    assert made.metadata.uid not in {
        one.metadata.uid for one in (await client.list(resource.type, meta.namespace)).items
    }


# Kinds whose names say what they are.
EXACT = {"IPAddress"}


@pytest.mark.parametrize(
    "kind", [kind for kind in LEFT_ALONE if kind.subresource("status")], ids=name_of
)
async def test_the_status_endpoint_changes_nothing_else(
    http: aiohttp.ClientSession, kind: AnyKind
) -> None:
    path, example = collection(kind.resource), example_of(kind.resource)
    made = await call(http, "POST", path, {**example, "status": {}})
    here = f"{path}/{example['metadata']['name']}"
    body = {"metadata": {"annotations": {"said": "yes"}}, "spec": {}}
    headers = {"Content-Type": "application/merge-patch+json"}
    after = await call(http, "PATCH", f"{here}/status", body, headers=headers)
    assert after.get("spec") == made.get("spec")
    assert after["metadata"].get("generation") == made["metadata"].get("generation")
    await call(http, "DELETE", here)
    await let_go(http, kind, here)


def test_every_kind_has_a_row_of_its_own_in_kubectl(lab: Cluster) -> None:
    printed = lab.kubectl("api-resources", "--no-headers").stdout.splitlines()
    rows = {(row.split()[0], row.split()[-3], row.split()[-1]) for row in printed}
    preferred = {(kind.resource.group, kind.resource.plural): kind for kind in KINDS[::-1]}
    for kind in preferred.values():
        row = kind.resource
        assert (row.plural, row.api_version, row.kind) in rows


def test_kubectl_applies_shows_and_explains_every_kind(lab: Cluster) -> None:
    examples = [example_of(kind.resource) for kind in KINDS]
    assert lab.apply(*examples).count(" created\n") == len(examples) - 1  # two versions of one
    for kind, example in zip(KINDS, examples, strict=True):
        row = kind.resource
        asked = f"{row.plural}.{row.version}.{row.group}" if row.group else row.plural
        shown = lab.kubectl("get", asked, example["metadata"]["name"], "-o", "wide").stdout
        wanted = " ".join(column.name.upper() for column in kind.columns)
        assert shown.splitlines()[0].split() == wanted.split()
    said = lab.kubectl("explain", "networkpolicy.spec.ingress.from.ipBlock").stdout
    assert "except" in said
    assert lab.kubectl("scale", "rc/web", "sts/db", "--replicas=5").returncode == 0
    assert lab.get("rc", "web")["spec"]["replicas"] == 5


def test_a_request_for_a_certificate_is_approved_once(lab: Cluster) -> None:
    request = example_of(BY_NAME["certificates.CertificateSigningRequest"].resource)
    request["metadata"]["name"] = "joe"
    request["spec"]["username"] = "somebody-else"
    lab.apply(request)
    assert lab.get("csr", "joe")["spec"]["username"] == "kubernetes-admin"
    lab.kubectl("certificate", "approve", "joe")
    found = lab.get("csr", "joe")
    assert [c["type"] for c in found["status"]["conditions"]] == ["Approved"]
    assert found["spec"]["request"] == request["spec"]["request"]
    denied = lab.kubectl("certificate", "deny", "joe", check=False)
    assert "is already Approved" in denied.stderr
    issued = {"status": {"certificate": PEM, "conditions": []}}
    patch = ("patch", "csr", "joe", "--subresource=status", "--type=merge", "-p")
    lab.kubectl(*patch, json.dumps(issued))
    found = lab.get("csr", "joe")["status"]
    assert [c["type"] for c in found["conditions"]] == ["Approved"]
    assert "Approved,Issued" in lab.kubectl("get", "csr", "joe").stdout
    again = lab.kubectl(*patch, '{"status": {"certificate": ""}}', check=False)
    assert "updates may not change an issued certificate" in again.stderr
