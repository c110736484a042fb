"""Environment, `$(VAR)` expansion and the downward API."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.api import core
from kube.api.meta import ObjectMeta
from worker.kubelet.pod.env import ConfigError, Sources, environment
from worker.kubelet.pod.expand import expand
from worker.kubelet.pod.fieldpath import FieldError, field_value, resource_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("cost: 5$", "cost: 5$"),
        ("$()", "$()"),
        ("$($(A))", "$($(A))"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet="$()AB x", max_size=30))
def test_expansion_without_variables_only_halves_dollars(text: str) -> None:
    assert expand(text, {}).replace("$", "") == text.replace("$", "")


POD = core.Pod(
    metadata=ObjectMeta(
        name="p",
        namespace="shop",
        uid="u",
        labels={"app": "web"},
        annotations={"b": "2", "a": 'q"'},
    ),
    spec=core.PodSpec(node_name="w1"),
    status=core.PodStatus(pod_ip="10.1.0.5", host_ip="10.0.0.1"),
)


def container(*env: core.EnvVar, **fields: object) -> core.Container:
    return core.Container(name="c", env=env, **fields)


def config_ref(name: str, key: str, optional: bool = False) -> core.EnvVar:
    ref = core.ConfigMapKeySelector(name=name, key=key, optional=optional or None)
    return core.EnvVar(name="X", value_from=core.EnvVarSource(config_map_key_ref=ref))


SOURCES = Sources(
    config_maps={"cm": core.ConfigMap(data={"k": "v", "bad name": "x"})},
    secrets={"s": core.Secret(data={"pw": base64.b64encode(b"hunter2").decode()})},
)


def test_values_expand_what_came_before() -> None:
    spec = container(core.EnvVar(name="A", value="1"), core.EnvVar(name="B", value="$(A)$(C)"))
    assert environment(POD, spec, Sources()) == {"A": "1", "B": "1$(C)"}


def test_env_wins_over_env_from_and_illegal_names_are_skipped() -> None:
    source = core.EnvFromSource(config_map_ref=core.ConfigMapEnvSource(name="cm"), prefix="P_")
    spec = container(core.EnvVar(name="P_k", value="mine"), env_from=(source,))
    assert environment(POD, spec, SOURCES) == {"P_k": "mine"}


def test_secrets_are_decoded() -> None:
    ref = core.SecretKeySelector(name="s", key="pw")
    spec = container(core.EnvVar(name="PW", value_from=core.EnvVarSource(secret_key_ref=ref)))
    assert environment(POD, spec, SOURCES) == {"PW": "hunter2"}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (config_ref("nope", "k"), 'configmap "nope" not found'),
        (config_ref("cm", "nope"), "couldn't find key nope in ConfigMap shop/cm"),
    ],
)
def test_what_is_missing_is_named(variable: core.EnvVar, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        environment(POD, container(variable), SOURCES)


def test_optional_and_missing_leaves_the_variable_out() -> None:
    assert environment(POD, container(config_ref("nope", "k", optional=True)), SOURCES) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations", 'a="q\\""\nb="2"'),
        ("spec.nodeName", "w1"),
        ("status.podIP", "10.1.0.5"),
        ("status.hostIP", "10.0.0.1"),
    ],
)
def test_fields(path: str, value: str) -> None:
    assert field_value(POD, path) == value


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(FieldError, match=r"spec\.color"):
        field_value(POD, "spec.color")


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "", "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.memory", "1Mi", "64"),
        ("limits.memory", "1Gi", "4"),
    ],
)
def test_resources_round_up_and_default_to_the_node(
    resource: str, divisor: str, value: str
) -> None:
    resources = core.ResourceRequirements(limits={"cpu": "1500m"}, requests={"memory": "64Mi"})
    selector = core.ResourceFieldSelector(resource=resource, divisor=divisor)
    node = {"cpu": 2000, "memory": 4 * 2**30}
    assert resource_value(POD, container(resources=resources), selector, node) == value


def service(name: str, namespace: str, ip: str = "10.96.0.7") -> core.Service:
    ports = (core.ServicePort(name="http", port=80, protocol="TCP"),)
    return core.Service(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=core.ServiceSpec(cluster_ip=ip, ports=ports),
    )


def test_service_variables_of_the_own_namespace_and_the_api_server() -> None:
    services = (
        service("my-db", "shop"),
        service("other", "elsewhere"),
        service("headless", "shop", "None"),
        service("kubernetes", "default", "10.96.0.1"),
    )
    env = environment(POD, container(), Sources(services=services))
    assert env["MY_DB_SERVICE_HOST"] == "10.96.0.7"
    assert env["MY_DB_SERVICE_PORT_HTTP"] == "80"
    assert env["MY_DB_PORT_80_TCP"] == "tcp://10.96.0.7:80"
    assert env["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert not [k for k in env if k.startswith(("OTHER", "HEADLESS"))]


def test_service_links_can_be_switched_off() -> None:
    quiet = core.Pod(metadata=POD.metadata, spec=core.PodSpec(enable_service_links=False))
    services = (service("my-db", "shop"), service("kubernetes", "default", "10.96.0.1"))
    env = environment(quiet, container(), Sources(services=services))
    assert "KUBERNETES_SERVICE_HOST" in env
    assert "MY_DB_SERVICE_HOST" not in env
