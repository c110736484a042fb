"""Leader election's and the event recorder's decisions, without a server."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import Node, ObjectReference, Pod
from kube.api.meta import ObjectMeta
from kube.client.events import BURST, REFILL_SECONDS, Occurrence, SpamFilter, new_event, reference
from kube.client.flags import truth
from kube.client.leader import Observed, claimed, may_acquire
from kube.machinery.times import format_micro, format_time, parse_time

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def held(by: str) -> Lease:
    return Lease(spec=LeaseSpec(holder_identity=by, lease_transitions=3, acquire_time="then"))


@pytest.mark.parametrize(
    ("lease", "seen_at", "now", "may"),
    [
        (None, 0.0, 0.0, True),
        (held(""), 10.0, 10.0, True),
        (held("me"), 10.0, 10.0, True),
        (held("other"), 10.0, 24.9, False),
        (held("other"), 10.0, 25.0, True),
    ],
)
def test_a_lease_is_taken_only_when_free_or_not_renewed_for_its_duration(
    lease: Lease | None, seen_at: float, now: float, may: bool
) -> None:
    assert may_acquire(Observed(lease, seen_at), "me", 15.0, now) is may


def test_taking_over_counts_a_transition_and_renewing_does_not() -> None:
    taken = claimed(held("other"), "me", 3.0, "now")
    assert (taken.holder_identity, taken.lease_transitions, taken.acquire_time) == ("me", 4, "now")
    renewed = claimed(msgspec.structs.replace(held("me"), spec=taken), "me", 3.0, "later")
    assert (renewed.lease_transitions, renewed.acquire_time) == (4, "now")
    assert renewed.renew_time == "later"
    assert claimed(None, "me", 0.4, "now").lease_duration_seconds == 1


def test_an_object_may_cause_a_burst_and_then_only_a_trickle() -> None:
    spam = SpamFilter()
    allowed = [spam.allows("pod/a", 0.0) for _ in range(BURST + 5)]
    assert sum(allowed) == BURST
    assert spam.allows("pod/b", 0.0)
    assert not spam.allows("pod/a", REFILL_SECONDS * 0.9)
    assert spam.allows("pod/a", REFILL_SECONDS * 1.1)


def test_an_event_names_its_object_and_its_source() -> None:
    pod = Pod(metadata=ObjectMeta(name="a", namespace="ns", uid="u", resource_version="7"))
    event = new_event(Occurrence(reference(pod), "Normal", "Pulled", "done", NOW), "kubelet", "w1")
    assert event.metadata.namespace == "ns"
    assert event.metadata.name.startswith("a.")
    assert event.involved_object == ObjectReference(
        api_version="v1", kind="Pod", name="a", namespace="ns", uid="u", resource_version="7"
    )
    assert (event.count, event.first_timestamp) == (1, "2026-01-02T03:04:05Z")
    node = Node(metadata=ObjectMeta(name="w1"))
    about_node = new_event(Occurrence(reference(node), "Normal", "Ready", "", NOW), "x", "")
    assert about_node.metadata.namespace == "default"


def test_times_read_back_what_they_wrote() -> None:
    assert parse_time(format_micro(NOW)) == NOW
    assert parse_time(format_time(NOW)) == NOW.replace(microsecond=0)
    assert parse_time("") is None
    assert parse_time("yesterday") is None


def test_boolean_flags_read_as_gos() -> None:
    assert truth("true")
    assert not truth("False")
    with pytest.raises(Exception, match="use true or false"):
        truth("maybe")
