"""What several components ask: tolerations, conditions, images, ports, quality of service."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kube.api.core import (
    Container,
    ContainerPort,
    PodCondition,
    PodSpec,
    ResourceRequirements,
    Taint,
    Toleration,
)
from kube.machinery import conditions
from kube.machinery.images import default_pull_policy
from kube.machinery.ports import named_port
from kube.machinery.qos import qos_class
from kube.machinery.subjects import node_user
from kube.machinery.times import format_seconds, to_seconds
from kube.machinery.tolerations import tolerated, tolerates

TAINT = Taint(key="dedicated", value="db", effect="NoSchedule")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("toleration", "does"),
    [
        (Toleration(key="dedicated", value="db", effect="NoSchedule"), True),
        (Toleration(key="dedicated", value="db"), True),
        (Toleration(key="dedicated", value="web"), False),
        (Toleration(key="dedicated", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(key="", value="db"), False),
        (Toleration(key="dedicated", operator="Exists", effect="NoExecute"), False),
    ],
)
def test_a_toleration_matches_by_key_value_and_effect(toleration: Toleration, does: bool) -> None:
    assert tolerates(toleration, TAINT) is does
    assert tolerated((Toleration(key="other"), toleration), TAINT) is does


def test_a_conditions_transition_time_moves_with_its_status_alone() -> None:
    old = (
        PodCondition(type="Ready", status="True", last_transition_time="then"),
        PodCondition(type="Other", status="True"),
    )
    same = conditions.put(old, PodCondition(type="Ready", status="True", reason="New"), NOW)
    assert conditions.find(same, "Ready") == PodCondition(
        type="Ready", status="True", reason="New", last_transition_time="then"
    )
    moved = conditions.put(old, PodCondition(type="Ready", status="False"), NOW)
    assert [(c.type, c.last_transition_time) for c in moved] == [
        ("Other", ""), ("Ready", "2026-01-02T03:04:05Z")
    ]  # fmt: skip
    assert not conditions.is_true(moved, "Ready")
    assert conditions.status_of(moved, "Missing") == ""


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("nginx:latest@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_an_images_name_says_when_it_is_pulled(image: str, policy: str) -> None:
    assert default_pull_policy(image) == policy


def test_a_port_is_found_by_name_and_protocol() -> None:
    ports = (
        ContainerPort(name="dns", container_port=53, protocol="UDP"),
        ContainerPort(name="dns", container_port=5353),
    )
    containers = (Container(name="c", ports=ports),)
    assert named_port(containers, "dns") == 53
    assert named_port(containers, "dns", "TCP") == 5353
    assert named_port(containers, "http") is None


def test_the_class_follows_from_requests_and_limits() -> None:
    def kind(**resources: dict[str, str | int | float]) -> str:
        container = Container(name="c", resources=ResourceRequirements(**resources))
        return qos_class(PodSpec(containers=(container,)))

    full: dict[str, str | int | float] = {"cpu": "1", "memory": "1Gi"}
    assert kind() == "BestEffort"
    assert kind(requests={"cpu": "1"}) == "Burstable"
    assert kind(limits=full) == "Guaranteed"
    assert kind(limits=full, requests={"cpu": "500m"}) == "Burstable"


def test_times_and_names() -> None:
    assert format_seconds(0) == ""
    assert format_seconds(1.9) == "1970-01-01T00:00:01Z"
    assert to_seconds("1970-01-01T00:00:01.5Z") == 1.5
    assert node_user("w1") == "system:node:w1"
