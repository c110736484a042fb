"""The api-server of the node matrix, with the objects that its cells are about, and who asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kube.component.tls import TlsFiles
from kube.stubs.resources import resources_pb2 as pb
from tests.component.apiserver_harness import Cluster, cluster, pod
from tests.component.pki_fixture import Pki
from tests.security.apicalls import PATCHES, Answer, Grpc, Rest, ref
from tests.security.node_cells import Cell, Json, lease, node

_TAINT = {"key": "t", "effect": "NoSchedule"}
TRANSPORTS = ("REST", "gRPC")
_VERSIONS = {
    "apps": "apps/v1",
    "authorization.k8s.io": "authorization.k8s.io/v1",
    "coordination.k8s.io": "coordination.k8s.io/v1",
    "discovery.k8s.io": "discovery.k8s.io/v1",
}


@dataclass
class World:
    lab: Cluster
    pki: Pki
    uid: str = ""  # w1's
    stored: dict[str, Json] = field(default_factory=dict)  # path: the object before all cells
    _rest: dict[Any, Rest] = field(default_factory=dict)
    _grpc: dict[Any, Grpc] = field(default_factory=dict)

    @property
    def admin(self) -> Rest:
        return self.rest("boss", ("kubeadm:cluster-admins",))

    def rest(self, user: str, groups: tuple[str, ...]) -> Rest:
        if (user, groups) not in self._rest:
            issued = self.pki.issue(user, organizations=groups)
            # The fixture names its files after the user alone; here he comes with other groups too.
            own = self.lab.directory / f"identity-{len(self._rest)}"
            tls = TlsFiles(own.with_suffix(".crt"), own.with_suffix(".key"), issued.ca)
            issued.cert.rename(tls.cert)
            issued.key.rename(tls.key)
            self._rest[user, groups] = Rest(self.lab.server, tls)
            self._grpc[user, groups] = Grpc(self.lab.server, tls)
        return self._rest[user, groups]

    def grpc(self, user: str, groups: tuple[str, ...]) -> Grpc:
        self.rest(user, groups)
        return self._grpc[user, groups]

    def close(self) -> None:
        for one in self._grpc.values():
            one.close()

    def before(self, cell: Cell) -> Json:
        """A copy of the stored object that the cell is about."""
        path = path_of(cell, whole=True)
        if path not in self.stored:
            answer = self.admin.get(path)
            assert answer.code == 200, (path, answer)
            self.stored[path] = answer.body
        copied: Json = json.loads(json.dumps(self.stored[path]))
        return copied


def path_of(cell: Cell, *, whole: bool = False) -> str:
    base = f"/apis/{_VERSIONS[cell.group]}" if cell.group else "/api/v1"
    where = f"/namespaces/{cell.namespace}" if cell.namespace else ""
    path = f"{base}{where}/{cell.resource}"
    named = cell.name and (cell.verb != "create" or cell.sub)
    path += f"/{cell.name}" if named else ""
    return path + (f"/{cell.sub}" if cell.sub and not whole else "")


@contextmanager
def world(directory: Path, pki: Pki, store: str = "kvstore") -> Iterator[World]:
    with ExitStack() as stack:
        lab = stack.enter_context(cluster(store, directory, pki))
        made = World(lab, pki)
        stack.callback(made.close)
        _fill(made)
        yield made


def _fill(made: World) -> None:
    lab, admin = made.lab, made.admin
    lab.kubectl("create", "namespace", "far")
    nodes = [node("w1"), node("w2", taints=[_TAINT], providerID="lab://w2")]
    nodes[1]["metadata"]["labels"] = {"node-restriction.kubernetes.io/fips": "yes"}
    placed = {"bound": "w1", "other": "w2", "unbound": "", "mirror": "w1"}
    pods = [_pod(name, "default", where) for name, where in placed.items()]
    names = [(name, "default") for name in (*placed, "plain", "away")] + [("away", "far")]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "reason": "R",
        "message": "m",
        "type": "Normal",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "bound", "namespace": "default"},
    }
    data = [
        {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
        for kind in ("Secret", "ConfigMap")
        for name, namespace in names
    ]
    leases = [lease("w1"), lease("w2")]
    lab.apply(*nodes, *pods, _pod("away", "far", "w1"), *data, *leases, event)
    # Only an administrator can make a pod that has references look like a mirror pod.
    lab.kubectl("annotate", "pod", "mirror", "kubernetes.io/config.mirror=x")
    made.uid = admin.get("/api/v1/nodes/w1").body["metadata"]["uid"]


def _pod(name: str, namespace: str, where: str) -> Json:
    volumes = [{"name": "s", "secret": {"secretName": name}}]
    env = [{"configMapRef": {"name": name}}]
    container = {"name": "c", "image": "i", "envFrom": env}
    made = pod(name, volumes=volumes, containers=[container])
    made["metadata"]["namespace"] = namespace
    if where:
        made["spec"]["nodeName"] = where
    return made


# asking


def ask(made: World, cell: Cell, transport: str) -> Answer:
    """The cell's request, as that user, over REST or gRPC."""
    if transport == "REST":
        return _over_rest(made, cell, made.rest(cell.user, cell.groups))
    return _over_grpc(made, cell, made.grpc(cell.user, cell.groups))


def _wanted(made: World, cell: Cell) -> Json:
    """The body of a write: what is created, or the stored object as changed, or a patch."""
    if cell.body is not None:
        text = json.dumps(cell.body).replace('"UID"', json.dumps(made.uid))
        body: Json = json.loads(text)
        return body
    assert cell.change is not None, cell
    if cell.verb == "update":
        body = made.before(cell)
        cell.change(body)
        return body
    return _patch(made, cell)


def _patch(made: World, cell: Cell) -> Any:
    """A patch of that kind that makes the change. Apply and the merges say the changed part."""
    assert cell.change is not None
    before = made.before(cell)
    if cell.verb == "json":
        after = json.loads(json.dumps(before))
        cell.change(after)
        return [
            {"op": "add", "path": f"/{key}", "value": value}
            for key, value in after.items()
            if before.get(key) != value
        ]
    part: Json = {}
    cell.change(part)
    if cell.verb == "apply":
        part = {"apiVersion": before["apiVersion"], "kind": before["kind"], **part}
        part["metadata"] = {"name": cell.name, **part.get("metadata", {})}
        if "namespace" in before["metadata"]:
            part["metadata"]["namespace"] = cell.namespace
    return part


def _over_rest(made: World, cell: Cell, rest: Rest) -> Answer:
    path, query = path_of(cell), {}
    if cell.fields:
        query["fieldSelector"] = cell.fields
    match cell.verb:
        case "get" | "list":
            return rest.get(path, **query)
        case "watch":
            return rest.get(path, watch="true", timeoutSeconds="1", **query)
        case "delete" | "deletecollection":
            return rest.call("DELETE", path, {"dryRun": ["All"]}, **query)
        case "create":
            dry = {} if cell.sub or "review" in cell.resource else {"dryRun": "All"}
            return rest.call("POST", path, _wanted(made, cell), **dry)
        case "update":
            return rest.call("PUT", path, _wanted(made, cell), dryRun="All")
    return rest.patch(path, cell.verb, _wanted(made, cell), dryRun="All", **_force(cell))


def _force(cell: Cell) -> dict[str, str]:
    return {"force": "true"} if cell.verb == "apply" else {}


def _over_grpc(made: World, cell: Cell, grpc: Grpc) -> Answer:
    where = ref(cell.resource, cell.name, cell.namespace, cell.sub, cell.group)
    match cell.verb:
        case "get":
            return grpc.call("Get", pb.GetRequest(ref=where))
        case "list":
            return grpc.call("List", pb.ListRequest(ref=where, field_selector=cell.fields))
        case "watch":
            request = pb.WatchRequest(ref=where, field_selector=cell.fields, timeout_seconds=60)
            return grpc.call("Watch", request)
        case "delete":
            options = json.dumps({"dryRun": ["All"]}).encode()
            return grpc.call("Delete", pb.DeleteRequest(ref=where, options=options))
    body = json.dumps(_wanted(made, cell)).encode()
    if cell.verb == "create":
        if not cell.sub:
            where.name = ""
        return grpc.call("Create", pb.CreateRequest(ref=where, json=body, dry_run=True))
    if cell.verb == "update":
        return grpc.call("Update", pb.UpdateRequest(ref=where, json=body, dry_run=True))
    request = pb.PatchRequest(
        ref=where,
        patch_type=PATCHES[cell.verb],
        patch=body,
        dry_run=True,
        field_manager="t",
        force=cell.verb == "apply",
    )
    return grpc.call("Patch", request)


# judging


def wrong(made: World, cell: Cell, answer: Answer) -> str:
    """What is wrong with the answer, if anything."""
    code = cell.code or (answer.code if cell.allowed and answer.code in (200, 201) else 403)
    if answer.code != code or (cell.allowed and answer.code == 403):
        return f"HTTP {answer.code}: {answer.message}"
    if cell.text and cell.text not in answer.message:
        return f"another text: {answer.message}"
    before = made.before(cell) if cell.unchanged else {}
    for path in cell.unchanged:
        if _at(before, path) != _at(answer.body, path):
            return f"{path} changed: {_at(answer.body, path)}"
    return ""


def _at(obj: Any, path: str) -> Any:
    for key in path.split("."):
        obj = (obj or {}).get(key)
    return obj
