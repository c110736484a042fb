"""What a hostile client may send, and what it must hear: the rows of the table of bad input.

`tests/security/test_bad_input.py` asks a real api-server each of them; `make security` publishes
them. A row says what is sent, the code of the answer and a part of its text.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

JSON, YAML = "application/json", "application/yaml"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
CORE = "/api/v1/namespaces/default"
MAPS, PODS, SERVICES = f"{CORE}/configmaps", f"{CORE}/pods", f"{CORE}/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
HUGE = "99999999999999999999"
Object = dict[str, Any]


@dataclass(frozen=True)
class Row:
    subject: str
    what: str
    method: str
    path: str
    body: bytes
    content_type: str
    code: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.what}"


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def pod(name: str = "bad", meta: Object | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **(meta or {})},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}], **spec},
    }


def with_container(**fields: Any) -> Object:
    return pod(containers=[{"name": "c", "image": "busybox:1", **fields}])


def volume(**source: Any) -> Object:
    return pod(volumes=[{"name": "v", **source}])


def config_map(**fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad"}, **fields}


def deployment(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bad"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


def lease(**spec: Any) -> Object:
    meta = {"name": "bad"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def event(**fields: Any) -> Object:
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "bad"},
        "involvedObject": involved, "reason": "R", "message": "m", "type": "Normal", **fields,
    }  # fmt: skip


def endpoints(address: str) -> Object:
    subsets = [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "bad"},
        "subsets": subsets,
    }


def endpoint_slice(address: str, type_: str = "IPv4") -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "bad"},
        "addressType": type_, "endpoints": [{"addresses": [address]}], "ports": [{"port": 80}],
    }  # fmt: skip


def service(**spec: Any) -> Object:
    ports = [{"port": 80}]
    meta = {"name": "bad"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"ports": ports, **spec},
    }


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"f:x": value}
    return value


def varint(number: int) -> bytes:
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def protobuf(version: str, kind: str, raw: bytes) -> bytes:
    meta = message(1, version.encode()) + message(2, kind.encode())
    return b"k8s\0" + message(1, meta) + message(2, raw)


def alias_bomb(levels: int = 9) -> bytes:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        name, below = chr(97 + level), chr(96 + level)
        lines.append(f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]")
    return "\n".join(lines).encode()


def doubling(operations: int = 24) -> list[Object]:
    """Each copies all that there is into a place in it."""
    first = {"op": "add", "path": "/data/k0", "value": "x" * 64}
    return [first] + [
        {"op": "copy", "from": "/data", "path": f"/metadata/annotations/a{n}"}
        if n % 2
        else {"op": "copy", "from": "/metadata/annotations", "path": f"/data/k{n}"}
        for n in range(1, operations)
    ]


def post(subject: str, what: str, path: str, value: Any, code: int, text: str) -> Row:
    return Row(subject, what, "POST", path, encoded(value), JSON, code, text)


def raw(subject: str, what: str, body: bytes, code: int, text: str, media: str = JSON) -> Row:
    return Row(subject, what, "POST", MAPS, body, media, code, text)


def patch(
    subject: str, what: str, media: str, value: Any, code: int, text: str,
    path: str = f"{DEPLOYMENTS}/web",
) -> Row:  # fmt: skip
    return Row(subject, what, "PATCH", f"{path}?fieldManager=t", encoded(value), media, code, text)


def ask(what: str, path: str, code: int, text: str, method: str = "GET") -> Row:
    return Row("query", what, method, path, b"", JSON, code, text)


def bodies() -> Iterator[Row]:
    good = encoded(config_map())
    half = b'{"metadata":{"name":"bad"},"data":{"a":"\\ud800"}}'
    yield raw("JSON", "half a surrogate pair", half, 400, "unrecognized")
    yield raw("JSON", "no UTF-8", b'{"metadata":{"name":"bad"},"data":{"a":"\xff"}}', 400,
              "unrecognized")  # fmt: skip
    yield raw("JSON", "UTF-16", good.decode().encode("utf-16"), 400, "unrecognized")
    yield raw("JSON", "UTF-32", good.decode().encode("utf-32-le"), 400, "unrecognized")
    yield raw("JSON", "NaN", b'{"metadata":{"name":"bad"},"data":NaN}', 400, "unrecognized")
    yield raw("JSON", "a number of 5,000 digits", b'{"metadata":' + b"9" * 5000 + b"}", 400, "")
    yield raw("JSON", "100,000 opening brackets", b"[" * 100_000, 400, "exceeded max depth")
    yield raw("JSON", "900 levels in managedFields", encoded(config_map(metadata={
        "name": "bad", "managedFields": [{"operation": "Apply", "fieldsV1": nested(900)}]})),
        400, "")  # fmt: skip
    yield raw("JSON", "500,000 values", b'{"x":[' + b"1," * 499_999 + b"1]}", 413, "values")
    yield raw("JSON", "30,000 containers of two letters", encoded(
        pod(containers=[{}] * 30_000)), 413, "values")  # fmt: skip
    yield raw("JSON", "more than 1.5 MiB", b" " * (3 * 512 * 1024 + 1), 413, "limit is 1572864")
    yield raw("YAML", "alias bomb", alias_bomb(), 413, "values", YAML)
    yield raw("YAML", "an alias of itself", b"a: &a [*a]", 400, "unknown anchor", YAML)
    yield raw("YAML", "100,000 levels", b"- " * 100_000, 400, "exceeded max depth", YAML)
    yield raw("YAML", "300,000 values", b"- a\n" * 300_000, 413, "values", YAML)
    yield raw("YAML", "UTF-16", "a: b".encode("utf-16"), 400, "not UTF-8", YAML)
    yield raw("YAML", "a tag that makes objects", b"!!python/object:os.system {}", 400, "tag", YAML)
    yield raw("YAML", "two documents", b"a: b\n---\nc: d", 400, "single document", YAML)
    yield raw("YAML", "a list as a key", b"? [a]\n: b", 400, "key of a map", YAML)
    yield raw("YAML", "infinity", b"data: {a: 1e999}", 400, "JSON", YAML)
    for what, body, text in (
        ("garbage", b"garbage", "no gzip"),
        ("truncated", gzip.compress(good)[:-9], "unexpected EOF"),
        ("something behind it", gzip.compress(good) + b"x", "unexpected EOF"),
    ):
        yield Row(
            "gzip", what, "POST", MAPS, body, JSON, 400, text, (("Content-Encoding", "gzip"),)
        )
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
    yield Row("gzip", "256 MiB of zeros in 256 KiB", "POST", MAPS, packed, JSON, 413, "limit",
              (("Content-Encoding", "gzip"),))  # fmt: skip
    yield Row("gzip", "another encoding", "POST", MAPS, good, JSON, 415, "encoding",
              (("Content-Encoding", "br"),))  # fmt: skip
    yield raw("media type", "text/plain", good, 415, "unknown format", "text/plain")
    yield raw("media type", "JSON called protobuf", good, 400, "prefix", PROTOBUF)
    yield Row("media type", "JSON as a patch", "PATCH", f"{MAPS}/base", good, JSON, 415, "unknown")
    yield post("kind", "another kind", MAPS, {**config_map(), "kind": "Secret"}, 400, "Secret")
    yield post("kind", "another version", MAPS, {**config_map(), "apiVersion": "v2"}, 400, "(v2)")
    yield post("kind", "a list for metadata", MAPS, config_map(metadata=[1]), 400,
               "json: cannot unmarshal array into Go struct field ConfigMap.metadata")  # fmt: skip


def protobufs() -> Iterator[Row]:
    def body(spec: bytes) -> bytes:
        meta = message(1, message(1, b"bad"))
        return protobuf("apps/v1", "Deployment", meta + message(2, spec))

    def row(what: str, data: bytes, code: int, text: str) -> Row:
        return Row("protobuf", what, "POST", DEPLOYMENTS, data, PROTOBUF, code, text)

    yield row("replicas 2^40", body(b"\x08" + varint(1 << 40)), 400, "int32")
    yield row("replicas of 11 bytes", body(b"\x08" + b"\xff" * 10 + b"\x01"), 400, "protobuf")
    yield row("a text for a number", body(message(1, b"x")), 400, "int32")
    yield row("a field longer than its message", body(b"")[:-1] + b"\x7f\x01", 400, "longer")
    yield row("500,000 fields", body(message(99, b"") * 500_000), 413, "values")
    yield row(
        "no UTF-8", protobuf("apps/v1", "Deployment", message(1, message(1, b"\xff"))), 400, ""
    )
    yield row("an unknown kind", protobuf("v1", "Frob", b""), 400, "no kind")


def numbers() -> Iterator[Row]:
    text = f"json: cannot unmarshal number {HUGE} into Go struct field DeploymentSpec.spec.replicas"
    big = encoded(deployment(replicas=0)).replace(b'"replicas": 0', f'"replicas": {HUGE}'.encode())
    yield Row("number", "replicas of 20 digits", "POST", DEPLOYMENTS, big, JSON, 400, text)
    yield post("number", "replicas 2^31", DEPLOYMENTS, deployment(replicas=2**31), 400, "int32")
    yield post("number", "replicas 1.5", DEPLOYMENTS, deployment(replicas=1.5), 400, "number 1.5")
    yield post("number", 'replicas "3"', DEPLOYMENTS, deployment(replicas="3"), 400, "string")
    yield post("number", "replicas true", DEPLOYMENTS, deployment(replicas=True), 400, "bool")
    yield post("number", "replicas -1", DEPLOYMENTS, deployment(replicas=-1), 422, "greater than")
    yield Row("number", "replicas of 20 digits in YAML", "POST", DEPLOYMENTS,
              big.replace(b'"kind"', b"kind"), YAML, 400, "int32")  # fmt: skip
    yield Row("number", "replicas of 20 digits by merge patch", "PATCH", f"{DEPLOYMENTS}/web",
              f'{{"spec":{{"replicas":{HUGE}}}}}'.encode(), MERGE, 400, text)  # fmt: skip
    yield Row("number", "replicas of 20 digits by JSON patch", "PATCH", f"{DEPLOYMENTS}/web",
              f'[{{"op":"replace","path":"/spec/replicas","value":{HUGE}}}]'.encode(), JSON_PATCH,
              400, text)  # fmt: skip
    yield Row("number", "replicas of 20 digits by scale", "PUT", f"{DEPLOYMENTS}/web/scale",
              f'{{"metadata":{{"name":"web"}},"spec":{{"replicas":{HUGE}}}}}'.encode(), JSON, 400,
              "int32")  # fmt: skip
    yield post("number", "runAsUser 2^70", PODS, pod(securityContext={"runAsUser": 2**70}), 400,
               "int64")  # fmt: skip
    yield post("number", "grace period 2^63", PODS, pod(terminationGracePeriodSeconds=2**63), 400,
               "int64")  # fmt: skip
    yield post("number", "a target port 2^40", SERVICES,
               service(ports=[{"port": 80, "targetPort": 2**40}]), 400, "int32")  # fmt: skip
    yield post("number", "maxSurge of 5,000 digits", DEPLOYMENTS, deployment(strategy={
        "rollingUpdate": {"maxSurge": "9" * 5000 + "%"}}), 422, "percent")  # fmt: skip
    yield post("number", "cpu zz", PODS, with_container(resources={"limits": {"cpu": "zz"}}), 422,
               "quantities must match")  # fmt: skip
    yield post("number", "cpu true", PODS, with_container(resources={"limits": {"cpu": True}}), 400,
               "quantities must match")  # fmt: skip


def times() -> Iterator[Row]:
    parsing = 'parsing time "{0}" as "{1}": cannot parse "{2}" as "{3}"'
    micro, plain = "2006-01-02T15:04:05.000000Z07:00", "2006-01-02T15:04:05Z07:00"
    yield post("time", 'renewTime "yesterday"', LEASES, lease(renewTime="yesterday"), 400,
               parsing.format("yesterday", micro, "yesterday", "2006"))  # fmt: skip
    whole = "2026-01-02T03:04:05Z"
    yield post("time", "renewTime without a fraction", LEASES, lease(renewTime=whole), 400,
               parsing.format(whole, micro, "Z", ".000000"))  # fmt: skip
    yield post("time", "eventTime without a fraction", f"{CORE}/events", event(eventTime=whole),
               400, parsing.format(whole, micro, "Z", ".000000"))  # fmt: skip
    yield post("time", "firstTimestamp without a zone", f"{CORE}/events",
               event(firstTimestamp="2026-01-02T03:04:05"), 400,
               parsing.format("2026-01-02T03:04:05", plain, "", "Z07:00"))  # fmt: skip
    yield post("time", "lastTimestamp a number", f"{CORE}/events", event(lastTimestamp=5), 400,
               "json: cannot unmarshal number")  # fmt: skip
    yield post("time", "the 31st of February", f"{CORE}/events",
               event(lastTimestamp="2026-02-31T00:00:00Z"), 400, "parsing time")  # fmt: skip
    yield patch("time", "renewTime by merge patch", MERGE, {"spec": {"renewTime": "soon"}}, 400,
                'cannot parse "soon"', f"{LEASES}/lock")  # fmt: skip
    yield patch("time", "startTime of a pod's status", MERGE, {"status": {"startTime": "now"}}, 400,
                'cannot parse "now"', f"{PODS}/p/status")  # fmt: skip


def patches() -> Iterator[Row]:
    yield patch("patch", "copies that double", JSON_PATCH, doubling(), 413, "", f"{MAPS}/base")
    yield patch("patch", "10,001 operations", JSON_PATCH,
                [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10_001, 413,
                "maximum operations in a JSON patch is 10000", f"{MAPS}/base")  # fmt: skip
    deep = [{"op": "add", "path": "/data", "value": nested(900)}]
    yield patch("patch", "900 levels in a JSON patch", JSON_PATCH, deep, 400, "max depth")
    yield patch("patch", "900 levels in a merge patch", MERGE, nested(900), 400, "max depth")
    yield patch(
        "patch", "900 levels in a strategic patch", STRATEGIC, nested(900), 400, "max depth"
    )
    yield patch("patch", "900 levels in an apply", APPLY, nested(900), 400, "max depth")
    yield patch("patch", "an index of 5,000 digits", JSON_PATCH,
                [{"op": "remove", "path": "/spec/template/spec/containers/" + "9" * 5000}], 422,
                "does not exist")  # fmt: skip
    yield patch("patch", "a copy into itself, again and again", JSON_PATCH, [
        {"op": "copy", "from": "/data", "path": "/data" + "/x" * (n + 1)} for n in range(300)],
        413, "values", f"{MAPS}/base")  # fmt: skip
    yield patch("patch", "another kind", MERGE, {"kind": "Pod"}, 400, "kind")
    yield patch("patch", "a list for the object", JSON_PATCH,
                [{"op": "replace", "path": "", "value": [1]}], 400, "object")  # fmt: skip
    for what, wrong, text in (
        ("$retainKeys 5", {"spec": {"strategy": {"$retainKeys": 5}}}, "retainKeys"),
        ("$retainKeys of lists", {"spec": {"strategy": {"$retainKeys": [[1]]}}}, "retainKeys"),
        ("$patch 5", {"spec": {"$patch": 5}}, "unknown patch type"),
        ("$patch of a list", {"spec": {"$patch": ["replace"]}}, "unknown patch type"),
        ("$setElementOrder 5", {"spec": {"template": {"spec": {
            "$setElementOrder/containers": 5}}}}, "setElementOrder"),
        ("$deleteFromPrimitiveList 5", {"metadata": {
            "$deleteFromPrimitiveList/finalizers": 5}}, "primitive list"),
        ("$deleteFromPrimitiveList of maps", {"metadata": {
            "$deleteFromPrimitiveList/finalizers": [{}]}}, "primitive list"),
        ("a container that is no map", {"spec": {"template": {"spec": {"containers": [5]}}}},
         "merge key"),
        ("a container without a name", {"spec": {"template": {"spec": {"containers": [{}]}}}},
         "merge key"),
        ("a name that is a map", {"spec": {"template": {"spec": {"containers": [
            {"name": {"a": 1}}]}}}}, "cannot unmarshal"),
        ("a number for metadata", {"metadata": 5}, "cannot unmarshal"),
        ("a list", [], "must be a map"),
    ):  # fmt: skip
        yield patch("strategic patch", what, STRATEGIC, wrong, 400, text)
    yield patch("apply", "metadata that is a list", APPLY, {"metadata": []}, 400, "metadata")
    yield patch("apply", "containers that are numbers", APPLY,
                {"spec": {"template": {"spec": {"containers": [1]}}}}, 400,
                "must have the key")  # fmt: skip
    yield patch("apply", "two containers of one name", APPLY,
                {"spec": {"template": {"spec": {"containers": [{"name": "a"}] * 2}}}}, 400,
                "duplicate entries for key")  # fmt: skip
    yield patch("apply", "own managedFields", APPLY,
                {"metadata": {"managedFields": [{"manager": "x"}]}}, 400,
                "managedFields")  # fmt: skip
    for what, entry, text in (
        ("operation Frob", {"operation": "Frob"}, "must be `Apply` or `Update`"),
        ("fieldsType V9", {"operation": "Apply", "fieldsType": "V9"}, "must be `FieldsV1`"),
        ("a set that is text", {"operation": "Apply", "fieldsV1": {"f:a": "x"}}, "map of maps"),
        ("a step that is garbage", {"operation": "Apply", "fieldsV1": {"frob": {}}}, "frob"),
        ("a key that is no JSON", {"operation": "Apply", "fieldsV1": {"k:{x": {}}}, "k:{x"),
        ("a manager of 500 letters", {"operation": "Apply", "manager": "m" * 500}, "Too long"),
    ):
        meta = {"name": "bad", "managedFields": [entry]}
        yield post("managedFields", what, MAPS, config_map(metadata=meta), 422, text)


def queries() -> Iterator[Row]:
    base = f"{MAPS}/base"
    for text in ("--5", "5x", "1e3", "٣", "9" * 5000):
        shown = text if len(text) < 10 else "5,000 digits"
        yield ask(f"gracePeriodSeconds={shown}", f"{base}?gracePeriodSeconds={_quoted(text)}", 400,
                  "gracePeriodSeconds", "DELETE")  # fmt: skip
    yield ask(
        "DELETE with dryRun=foo", f"{base}?dryRun=foo", 422, 'supported values: "All"', "DELETE"
    )
    yield Row("query", "DELETE with dryRun [foo] in the body", "DELETE", base,
              encoded({"dryRun": ["foo"]}), JSON, 422, 'supported values: "All"')  # fmt: skip
    yield Row("query", "POST with dryRun=foo", "POST", f"{MAPS}?dryRun=foo", encoded(config_map()),
              JSON, 422, 'supported values: "All"')  # fmt: skip
    yield ask("propagationPolicy=Frob", f"{base}?propagationPolicy=Frob", 422, "Orphan", "DELETE")
    yield ask("limit=-1", f"{MAPS}?limit=-1", 400, "limit")
    yield ask("limit of 5,000 digits", f"{MAPS}?limit={'9' * 5000}", 400, "limit")
    yield ask("timeoutSeconds=-1", f"{MAPS}?watch=1&timeoutSeconds=-1", 400, "timeoutSeconds")
    yield ask(
        "timeoutSeconds of 5,000 digits", f"{MAPS}?watch=1&timeoutSeconds={'9' * 5000}", 400, ""
    )
    yield ask("resourceVersion of 5,000 digits", f"{MAPS}?resourceVersion={'9' * 5000}", 400, "")
    yield ask("resourceVersion=2^70", f"{MAPS}?resourceVersion={2**70}", 400, "resource version")
    yield ask("resourceVersion of another script", f"{MAPS}?resourceVersion=%D9%A3", 400, "")
    yield ask("a continue token of garbage", f"{MAPS}?continue=garbage", 400, "continue")
    for what, token in (
        ("that is no map", b"[]"),
        ("at revision 2^70", encoded({"rv": 2**70, "start": "default/a"})),
        ("at revision -1", encoded({"rv": -1, "start": "default/a"})),
        ("that climbs", encoded({"rv": 1, "start": "../secrets/default/a"})),
        ("with a NUL", encoded({"rv": 1, "start": "default/a\0"})),
    ):
        yield ask(f"a continue token {what}", f"{MAPS}?continue={_token(token)}", 400, "continue")
    yield ask("a selector of one bracket", f"{MAPS}?labelSelector=a+in+(", 400, "")
    yield ask("a selector that repeats", f"{MAPS}?labelSelector={'a,' * 3000}", 400, "requirements")
    yield ask("a field that there is not", f"{MAPS}?fieldSelector=a=b", 400, "not supported")
    yield ask("a name that is no UTF-8", f"{MAPS}/%ff", 404, "")


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode()) if not text.isascii() else text


def _token(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def pods() -> Iterator[Row]:
    def row(what: str, value: Object, text: str) -> Row:
        return post("pod", what, PODS, value, 422, text)

    relative, climbs = "must be a relative path", "must not contain '..'"
    for path, text in (("/etc/x", relative), ("../x", climbs), ("a/../../x", climbs),
                       ("..data", "must not start with '..'"), ("a\0b", "NUL")):  # fmt: skip
        items = [{"key": "k", "path": path}]
        yield row(
            f"configMap item at {path!r}", volume(configMap={"name": "m", "items": items}), text
        )
    yield row("secret item at ../x", volume(secret={
        "secretName": "s", "items": [{"key": "k", "path": "../x"}]}), climbs)  # fmt: skip
    yield row("downwardAPI file at ../x", volume(downwardAPI={"items": [
        {"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}]}), climbs)  # fmt: skip
    yield row("projected token at /etc/x", volume(projected={"sources": [
        {"serviceAccountToken": {"path": "/etc/x"}}]}), relative)  # fmt: skip
    yield row("two projected files of one path", volume(projected={"sources": [
        {"configMap": {"name": name, "items": [{"key": "k", "path": "x"}]}} for name in "ab"]}),
        "conflicting duplicate paths")  # fmt: skip
    yield row("a key ../x", volume(configMap={
        "name": "m", "items": [{"key": "../x", "path": "x"}]}), "config key")  # fmt: skip
    yield row("mode 010000", volume(configMap={"name": "m", "defaultMode": 4096}), "0777")
    yield row("hostPath /a/../b", volume(hostPath={"path": "/a/../b"}), climbs)
    yield row(
        "hostPath of type Frob", volume(hostPath={"path": "/a", "type": "Frob"}), "Unsupported"
    )
    yield row("emptyDir of size zz", volume(emptyDir={"sizeLimit": "zz"}), "quantities must match")
    for name in ("subPath", "subPathExpr"):
        for path, text in (("/a", relative), ("a/../../b", climbs)):
            mounts = [{"name": "v", "mountPath": "/m", name: path}]
            made = with_container(volumeMounts=mounts)
            made["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
            yield row(f"{name} {path}", made, text)
    for name in ("kernel.core_pattern\n", "../../sys/x", "a b", "net..ipv4", "x" * 300):
        shown = name if len(name) < 40 else "of 300 letters"
        yield row(f"sysctl {shown!r}", pod(securityContext={"sysctls": [
            {"name": name, "value": "1"}]}), "253 characters")  # fmt: skip
    ids = "must be between 0 and 2147483647"
    yield row("runAsUser 2^40", pod(securityContext={"runAsUser": 2**40}), ids)
    yield row("runAsUser -1 of a container", with_container(securityContext={"runAsUser": -1}), ids)
    yield row("fsGroup -5", pod(securityContext={"fsGroup": -5}), ids)
    yield row("supplementalGroups 2^33", pod(securityContext={"supplementalGroups": [2**33]}), ids)
    for name in ("Localhost", "Frob"):
        for where in ("seccompProfile", "appArmorProfile"):
            made = pod(securityContext={where: {"type": name}})
            yield row(f"{where} {name} without a profile", made, where)
    for path, text in (("../../x", climbs), ("/etc/x", relative)):
        made = pod(
            securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": path}}
        )
        yield row(f"localhostProfile {path}", made, text)
    yield row("no escalation and privileged", with_container(securityContext={
        "allowPrivilegeEscalation": False, "privileged": True}), "cannot set")  # fmt: skip
    lines = "a\n10.0.0.1 evil"
    aliases = [{"ip": "10.0.0.1", "hostnames": [lines]}]
    yield row("a newline in a host alias", pod(hostAliases=aliases), "RFC 1123 subdomain")
    yield row(
        "a newline in a host alias' address", pod(hostAliases=[{"ip": "10.0.0.1\nx"}]), "valid IP"
    )
    yield row("an address with a zone", pod(hostAliases=[{"ip": "fe80::1%x\ny"}]), "valid IP")
    for what, config, text in (
        ("a nameserver with a newline", {"nameservers": ["1.1.1.1\noptions x"]}, "valid IP"),
        ("four nameservers", {"nameservers": ["1.1.1.1"] * 4}, "more than 3"),
        ("a search with a newline", {"searches": ["a\nnameserver 6.6.6.6"]}, "RFC 1123"),
        ("an option with a newline", {"options": [{"name": "a\nnameserver 6.6.6.6"}]},
         "whitespace"),
        ("an option's value with a newline", {"options": [{"name": "a", "value": "1\nx"}]},
         "whitespace"),
    ):  # fmt: skip
        yield row(f"dnsConfig: {what}", pod(dnsConfig=config), text)
    for what, get, text in (
        ("scheme FILE", {"port": 80, "scheme": "FILE"}, 'supported values: "HTTP", "HTTPS"'),
        ("a newline in its path", {"port": 80, "path": "/\r\nX: y"}, "control characters"),
        (
            "a newline in a header",
            {"port": 80, "httpHeaders": [{"name": "X", "value": "a\r\nb"}]},
            "control characters",
        ),
        (
            "a header's name with a colon",
            {"port": 80, "httpHeaders": [{"name": "X:", "value": ""}]},
            "valid HTTP header",
        ),
        ("port 70000", {"port": 70000}, "between 1 and 65535"),
        ("a port of 300 letters", {"port": "x" * 300}, "15 characters"),
    ):
        yield row(f"probe: {what}", with_container(livenessProbe={"httpGet": get}), text)
    yield row("exec probe without a command", with_container(livenessProbe={"exec": {}}), "command")
    yield row("a handler of nothing", with_container(lifecycle={"preStop": {}}), "handler type")
    yield row("hostPort 70000", with_container(ports=[{"containerPort": 80, "hostPort": 70000}]),
              "between 1 and 65535")  # fmt: skip
    yield row("hostIP with a newline", with_container(ports=[
        {"containerPort": 80, "hostPort": 80, "hostIP": "1.1.1.1\n-A X"}]), "valid IP")  # fmt: skip
    yield row("a port's name with a space", with_container(ports=[
        {"containerPort": 80, "name": "a b"}]), "alpha-numeric")  # fmt: skip
    yield row("fieldPath spec.containers", with_container(env=[
        {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}}]),
        "Unsupported value")  # fmt: skip
    yield row(
        "a value from nowhere", with_container(env=[{"name": "X", "valueFrom": {}}]), "one of"
    )
    nul = [{"name": "X", "value": "a\0"}]
    yield row("an environment value with a NUL", with_container(env=nul), "NUL")
    yield row("a weight of 500", pod(affinity={"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 500, "preference": {}}]}}),
        "1-100")  # fmt: skip
    yield row("a node selector's operator Frob", pod(affinity={"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Frob"}]}]}}}), "operator")  # fmt: skip
    yield row("maxSkew 0", pod(topologySpreadConstraints=[{
        "maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]),
        "greater than zero")  # fmt: skip
    yield row("300 containers", pod(containers=[
        {"name": f"c{n}", "image": "x"} for n in range(300)]), "Too many")  # fmt: skip
    yield row("activeDeadlineSeconds 2^40", pod(activeDeadlineSeconds=2**40), "2147483647")
    lines = {"status": {"podIP": "1.2.3.4\nx"}}
    yield patch("pod", "podIP with a newline, in its status", MERGE, lines, 422, "valid IP",
                f"{PODS}/p/status")  # fmt: skip


def networks() -> Iterator[Row]:
    for address, text in (
        ("127.0.0.1", "loopback"), ("127.8.8.8", "loopback"), ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"), ("169.254.169.254", "link-local range"),
        ("fe80::1", "link-local range"), ("224.0.0.1", "link-local multicast"),
        ("ff02::1", "link-local multicast"), ("239.1.2.3", "multicast"), ("0.0.0.0", "unspecified"),
        ("255.255.255.255", "broadcast"), ("1.2.3.4\n", "valid IP"), ("fe80::1%eth0", "valid IP"),
    ):  # fmt: skip
        type_ = "IPv6" if ":" in address else "IPv4"
        yield post("Endpoints", repr(address), f"{CORE}/endpoints", endpoints(address), 422, text)
        yield post(
            "EndpointSlice", repr(address), SLICES, endpoint_slice(address, type_), 422, text
        )
    yield post(
        "EndpointSlice", "IPv6 among IPv4", SLICES, endpoint_slice("2001:db8::1"), 422, "IPv4"
    )
    ports = {"ports": [{"port": 70000}]}
    yield post(
        "EndpointSlice", "port 70000", SLICES, endpoint_slice("10.0.0.1") | ports, 422, "655"
    )
    loopback = service(externalIPs=["127.0.0.1"])
    yield post("Service", "externalIPs 127.0.0.1", SERVICES, loopback, 422, "loopback")
    yield post("Service", "loadBalancerSourceRanges with a newline", SERVICES,
               service(loadBalancerSourceRanges=["10.0.0.0/8\n-A X"]), 422, "CIDR")  # fmt: skip
    yield post(
        "Service", "clusterIP with a zone", SERVICES, service(clusterIP="fe80::1%x"), 422, "IP"
    )
    yield post("Service", "targetPort of 300 letters", SERVICES,
               service(ports=[{"port": 80, "targetPort": "x" * 300}]), 422, "15")  # fmt: skip
    yield patch("Service", "a load balancer's address that is none", MERGE,
                {"status": {"loadBalancer": {"ingress": [{"ip": "x"}]}}}, 422, "valid IP",
                f"{SERVICES}/s/status")  # fmt: skip
    yield post("ConfigMap", "key ../x", MAPS, config_map(data={"../x": ""}), 422, "config key")
    yield post("ConfigMap", "key ..data", MAPS, config_map(data={"..data": ""}), 422, "start with")


ROWS: tuple[Row, ...] = tuple(
    row
    for rows in (bodies, protobufs, numbers, times, patches, queries, pods, networks)
    for row in rows()
)
