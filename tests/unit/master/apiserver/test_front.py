"""The pure parts of the front ends: paths, Accept headers, tables, protobuf, discovery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api.core import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodSpec,
    PodStatus,
)
from kube.api.meta import ObjectMeta
from kube.machinery.errors import BadRequest, NotAcceptable
from master.apiserver.kinds.catalog import KINDS
from master.apiserver.kinds.cell import human_duration
from master.apiserver.kinds.core.pod import cells as pod_cells
from master.apiserver.kinds.kind import AnyKind
from master.apiserver.kinds.registry import Registry
from master.apiserver.protobuf.decode import MAGIC, decode_body
from master.apiserver.rest.discovery import aggregated, resource_list, wants_aggregated
from master.apiserver.rest.kubelet import choose_container
from master.apiserver.rest.negotiate import negotiate
from master.apiserver.rest.openapi import Document
from master.apiserver.rest.requestinfo import parse_path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/v1/pods", ("", "pods", "", "", "")),
        ("/api/v1/namespaces/a/pods/b/log", ("", "pods", "a", "b", "log")),
        ("/api/v1/namespaces", ("", "namespaces", "", "", "")),
        ("/api/v1/namespaces/a", ("", "namespaces", "", "a", "")),
        ("/api/v1/namespaces/a/finalize", ("", "namespaces", "", "a", "finalize")),
        ("/apis/apps/v1/namespaces/a/deployments/b/scale",
         ("apps", "deployments", "a", "b", "scale")),
    ],
)  # fmt: skip
def test_paths(path: str, found: tuple[str, ...]) -> None:
    info = parse_path(path)
    assert info is not None
    assert (info.group, info.plural, info.namespace, info.name, info.subresource) == found


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis/apps/v1", "/version", "//"])
def test_paths_of_no_resource(path: str) -> None:
    assert parse_path(path) is None


def test_kubectls_accept_headers() -> None:
    table = (
        "application/json;as=Table;v=v1;g=meta.k8s.io,"
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
    )
    assert negotiate(table).form == "table"
    assert negotiate("application/vnd.kubernetes.protobuf,application/json").form == "object"
    assert negotiate("").form == negotiate("*/*").form == "object"
    with pytest.raises(NotAcceptable):
        negotiate("text/html")


def test_aggregated_discovery_is_asked_for_by_accept() -> None:
    new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    assert wants_aggregated(new) == "v2"
    assert wants_aggregated("application/json, */*") is None


def test_discovery_lists_every_kind_in_both_forms() -> None:
    served = Registry(KINDS)
    seen = {
        (item["metadata"].get("name", ""), entry["resource"])
        for core in (True, False)
        for item in aggregated(served, core, "v2")["items"]
        for version in item["versions"]
        for entry in version["resources"]
    }
    for kind in KINDS:
        resource = kind.resource
        assert (resource.group, resource.plural) in seen
        listed = resource_list(served, resource.group, resource.version)
        assert listed is not None
        assert resource.plural in [entry["name"] for entry in listed["resources"]]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_schemas_refer_to_schemas_that_exist(kind: AnyKind) -> None:
    resource = kind.resource
    page = Document(resource.group, resource.version, {})
    page.add(kind)
    made = page.finished()
    schemas = made["components"]["schemas"]
    text = repr(schemas)
    for part in text.split("#/components/schemas/")[1:]:
        assert part.split("'")[0] in schemas


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_every_table_row_fits_its_columns(kind: AnyKind) -> None:
    assert len(kind.cells(kind.resource.type(), NOW)) == len(kind.columns)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (601, "10m"), (10799, "179m"),
        (10800, "3h"), (10860, "3h1m"), (86400, "24h"), (172800, "2d"), (180000, "2d2h"),
        (86400 * 8, "8d"), (86400 * 730, "2y"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_ages_read_as_upstreams(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def shown(*states: ContainerState, phase: str = "Running", **meta: str) -> str:
    statuses = tuple(
        ContainerStatus(name=f"c{i}", state=state, ready=state.running is not None)
        for i, state in enumerate(states)
    )
    made = Pod(
        metadata=ObjectMeta(name="x", **meta),
        spec=PodSpec(containers=tuple(Container(name=s.name) for s in statuses)),
        status=PodStatus(phase=phase, container_statuses=statuses),
    )
    return str(pod_cells(made, NOW)[2])


def test_the_status_column_of_pods() -> None:
    running = ContainerState(running=ContainerStateRunning())
    waiting = ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff"))
    done = ContainerState(terminated=ContainerStateTerminated(reason="Completed"))
    killed = ContainerState(terminated=ContainerStateTerminated(signal=9))
    assert shown(running) == "Running"
    assert shown(running, waiting) == "CrashLoopBackOff"
    assert shown(done, phase="Succeeded") == "Completed"
    assert shown(killed) == "Signal:9"
    assert shown(done, running) == "NotReady"
    assert shown(running, deletion_timestamp="t") == "Terminating"
    init = (ContainerStatus(name="i", state=ContainerState(waiting=ContainerStateWaiting())),)
    starting = Pod(
        spec=PodSpec(init_containers=(Container(name="i"), Container(name="j"))),
        status=PodStatus(phase="Pending", init_container_statuses=init),
    )
    assert pod_cells(starting, NOW)[2] == "Init:0/2"


def test_restarts_say_how_long_ago() -> None:
    ended = (NOW - timedelta(minutes=5)).isoformat()
    last = ContainerState(terminated=ContainerStateTerminated(finished_at=ended))
    status = ContainerStatus(name="c", restart_count=3, last_state=last)
    made = Pod(
        spec=PodSpec(containers=(Container(name="c"),)),
        status=PodStatus(container_statuses=(status,)),
    )
    assert pod_cells(made, NOW)[3] == "3 (5m ago)"


def test_the_container_of_a_log_is_chosen() -> None:
    one = Pod(spec=PodSpec(containers=(Container(name="a"),)))
    assert choose_container(one, "") == "a"
    two = Pod(spec=PodSpec(containers=(Container(name="a"), Container(name="b"))))
    assert choose_container(two, "b") == "b"
    with pytest.raises(BadRequest, match=r"choose one of: \[a b\]"):
        choose_container(two, "")
    noted = ObjectMeta(annotations={"kubectl.kubernetes.io/default-container": "b"})
    assert choose_container(Pod(metadata=noted, spec=two.spec), "") == "b"


# protobuf: written here by hand as kubectl does


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def part(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    type_meta = part(1, api_version.encode()) + part(2, kind.encode())
    return MAGIC + part(1, type_meta) + part(2, raw)


def test_a_config_map_of_kubectl() -> None:
    entry = part(1, b"k") + part(2, b"v")
    binary = part(1, b"b") + part(2, b"\0\1")
    # Go writes the zero creationTimestamp as an empty message, and empty strings.
    meta = part(1, b"made") + part(2, b"") + part(8, b"")
    raw = part(1, meta) + part(2, entry) + part(3, binary) + part(99, b"from a newer client")
    assert decode_body(envelope("v1", "ConfigMap", raw)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "made"},
        "data": {"k": "v"},
        "binaryData": {"b": "AAE="},
    }


def test_embedded_structs_quantities_and_ports_read_as_their_json() -> None:
    probe = part(1, part(3, part(1, part(1, 1) + part(3, b"http")))) + part(2, 0) + part(4, 7)
    limits = part(1, b"cpu") + part(2, part(1, b"500m"))
    volume = part(1, b"v") + part(2, part(2, b""))
    container = part(1, b"c") + part(8, part(1, limits)) + part(10, probe)
    raw = part(2, part(1, volume) + part(2, container))
    found = decode_body(envelope("v1", "Pod", raw))
    assert found["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert found["spec"]["containers"] == [
        {
            "name": "c",
            "resources": {"limits": {"cpu": "500m"}},
            "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 7},
        }
    ]


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_request(garbage: bytes) -> None:
    for body in (garbage, MAGIC + garbage, envelope("v1", "Pod", garbage)):
        try:
            decode_body(body)
        except BadRequest:
            continue
